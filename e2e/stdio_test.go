package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// stdioConfig hosts a server that prints plain text on its own stdout.
func stdioConfig(t *testing.T, tag string) string {
	t.Helper()
	h := &hangar{tag: tag}
	text, err := json.Marshal(map[string]any{"mcp_servers": servers{"noisy": h.mark(stub("-banner"))}})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, text)
}

// TestStdioSpeaksOnlyJSONRPC reads every line that the program prints.
func TestStdioSpeaksOnlyJSONRPC(t *testing.T) {
	tag := newTag()
	command := program(t, "--config", stdioConfig(t, tag), "serve", "--data-dir", t.TempDir())
	command.Env = append(os.Environ(), tagEnv+"="+tag)
	var stderr output
	command.Stderr = &stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	overdue := time.AfterFunc(time.Minute, func() { command.Process.Kill() })
	defer overdue.Stop()
	lines := bufio.NewReader(stdout)
	read := func() (rpcMessage, error) {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return rpcMessage{}, err
		}
		var message rpcMessage
		decoder := json.NewDecoder(bytes.NewReader(line))
		if err := decoder.Decode(&message); err != nil || message.JSONRPC != "2.0" || decoder.More() {
			t.Errorf("stdout has a line that is no JSON-RPC message: %q", line)
		}
		return message, nil
	}
	ask := func(id int, method, params string) rpcMessage {
		t.Helper()
		fmt.Fprintf(stdin, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`+"\n", id, method, params)
		for {
			message, err := read()
			if err != nil {
				t.Fatalf("%s: %v\n%s", method, err, stderr.tail(8<<10))
			}
			if string(message.ID) == fmt.Sprint(id) && message.Method == "" {
				return message
			}
		}
	}
	ask(1, "initialize", `{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}`)
	fmt.Fprintln(stdin, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	answer := ask(2, "tools/call", `{"name":"noisy__echo","arguments":{"text":"over stdio"}}`)
	if answer.Error != nil || !strings.Contains(string(answer.Result), "over stdio") {
		t.Errorf("tools/call: got %s %v", answer.Result, answer.Error)
	}
	if list := ask(3, "tools/list", `{}`); !strings.Contains(string(list.Result), `"noisy__echo"`) {
		t.Errorf("tools/list: got %s", list.Result)
	}
	fmt.Fprintln(stdin, `this is no JSON`)
	if ping := ask(4, "ping", `{}`); ping.Error != nil {
		t.Errorf("ping after a bad line: %v", ping.Error)
	}

	mine := tagged(t, tag)
	stdin.Close()
	for {
		if _, err := read(); err != nil {
			if err != io.EOF {
				t.Errorf("reading the rest of stdout: %v", err)
			}
			break
		}
	}
	if err := command.Wait(); err != nil {
		t.Errorf("exit after the end of stdin: %v\n%s", err, stderr.tail(8<<10))
	}
	noneLeft(t, mine, 2*time.Second)
}

func TestStdioServesTheSDK(t *testing.T) {
	tag := newTag()
	command := program(t, "--config", stdioConfig(t, tag), "serve", "--data-dir", t.TempDir())
	command.Env = append(os.Environ(), tagEnv+"="+tag)
	session := connect(t, &mcp.CommandTransport{Command: command, TerminateDuration: stopWithin}, nil)
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "noisy__echo", Arguments: map[string]any{"text": "hello"}})
	if err != nil || result.IsError {
		t.Fatalf("echo: %v %v", err, result)
	}
	if names := sdkTools(t, session); !slices.Contains(names, "noisy__echo") {
		t.Errorf("tools: got %v", names)
	}
	if err := session.Close(); err != nil {
		t.Errorf("the program did not end cleanly with its stdin: %v", err)
	}
	noneLeft(t, tagged(t, tag), 2*time.Second)
}
