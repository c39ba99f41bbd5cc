package examplefleet

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type textInput struct {
	Text string `json:"text" jsonschema:"the text to work on"`
}

type textOutput struct {
	Text string `json:"text"`
}

type counts struct {
	Words      int `json:"words"`
	Lines      int `json:"lines"`
	Characters int `json:"characters"`
}

func newText() *mcp.Server {
	s := mcp.NewServer(implementation("text", "Text tools"), nil)
	addTool(s, "echo", "Answer the text unchanged.", readOnly(), func(in textInput) (textOutput, error) {
		return textOutput(in), nil
	})
	addTool(s, "word_count", "Count the words, lines and characters of a text.", readOnly(), func(in textInput) (counts, error) {
		return count(in.Text), nil
	})
	addTool(s, "slugify", "Make a text fit for an address: lower case, words joined by hyphens.", readOnly(), func(in textInput) (textOutput, error) {
		slug := slugify(in.Text)
		if slug == "" {
			return textOutput{}, errors.New("the text has no letter and no digit")
		}
		return textOutput{slug}, nil
	})
	return s
}

// count takes a last line without its newline as a line too.
func count(text string) counts {
	lines := strings.Count(text, "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		lines++
	}
	return counts{Words: len(strings.Fields(text)), Lines: lines, Characters: utf8.RuneCountInString(text)}
}

// slugify keeps the letters and digits of every script; an apostrophe inside
// a word goes without a trace, all else separates words.
func slugify(text string) string {
	text = strings.NewReplacer("'", "", "’", "").Replace(strings.ToLower(text))
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	})
	return strings.Join(words, "-")
}
