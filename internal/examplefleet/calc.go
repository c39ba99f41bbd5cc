package examplefleet

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// maxExpression bounds what evaluate reads, and by that its recursion.
const maxExpression = 1000

var (
	errDivisionByZero = errors.New("division by zero")
	errNotFinite      = errors.New("the result is too large to be a number")
)

type operands struct {
	A float64 `json:"a" jsonschema:"first number"`
	B float64 `json:"b" jsonschema:"second number"`
}

type expression struct {
	Expression string `json:"expression" jsonschema:"numbers, + - * / and parentheses, such as (1 + 2) * 3.5"`
}

type number struct {
	Result float64 `json:"result"`
}

func newCalc() *mcp.Server {
	s := mcp.NewServer(implementation("calc", "Calculator"), nil)
	addTool(s, "add", "Add two numbers.", readOnly(), func(in operands) (number, error) {
		return finite(in.A + in.B)
	})
	addTool(s, "multiply", "Multiply two numbers.", readOnly(), func(in operands) (number, error) {
		return finite(in.A * in.B)
	})
	addTool(s, "evaluate", "Evaluate an arithmetic expression.", readOnly(), func(in expression) (number, error) {
		if len(in.Expression) > maxExpression {
			return number{}, fmt.Errorf("the expression is longer than %d characters", maxExpression)
		}
		// The syntax of Go's expressions is the one that everybody expects of
		// arithmetic; evaluate takes that subset of its tree.
		tree, err := parser.ParseExpr(in.Expression)
		if err != nil {
			return number{}, fmt.Errorf("%q is no arithmetic expression", in.Expression)
		}
		value, err := evaluate(tree)
		if err != nil {
			return number{}, err
		}
		return finite(value)
	})
	return s
}

func evaluate(tree ast.Expr) (float64, error) {
	switch e := tree.(type) {
	case *ast.BasicLit:
		value, err := strconv.ParseFloat(e.Value, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no decimal number", e.Value)
		}
		return value, nil
	case *ast.ParenExpr:
		return evaluate(e.X)
	case *ast.UnaryExpr:
		value, err := evaluate(e.X)
		switch {
		case err != nil:
			return 0, err
		case e.Op == token.SUB:
			return -value, nil
		case e.Op == token.ADD:
			return value, nil
		}
		return 0, fmt.Errorf("unknown operator %s", e.Op)
	case *ast.BinaryExpr:
		return evaluateBinary(e)
	}
	return 0, errors.New("only numbers, + - * / and parentheses can be evaluated")
}

func evaluateBinary(e *ast.BinaryExpr) (float64, error) {
	a, err := evaluate(e.X)
	if err != nil {
		return 0, err
	}
	b, err := evaluate(e.Y)
	if err != nil {
		return 0, err
	}
	switch e.Op {
	case token.ADD:
		return a + b, nil
	case token.SUB:
		return a - b, nil
	case token.MUL:
		return a * b, nil
	case token.QUO:
		if b == 0 {
			return 0, errDivisionByZero
		}
		return a / b, nil
	}
	return 0, fmt.Errorf("unknown operator %s", e.Op)
}

// finite refuses what JSON cannot carry.
func finite(value float64) (number, error) {
	if math.IsInf(value, 0) || math.IsNaN(value) {
		return number{}, errNotFinite
	}
	return number{Result: value}, nil
}
