package e2e_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// codeBlock is a fenced block of README; its first group is the language.
var codeBlock = regexp.MustCompile("(?ms)^```(sh|js)\n(.*?)^```$")

// TestReadmeIsTrue runs what README tells a newcomer to type. In each block
// the server's port takes the place of 8000.
func TestReadmeIsTrue(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	h := startFile(t, absolute(t, exampleFleet))
	port := strings.TrimPrefix(h.url, "http://127.0.0.1:")
	ran := map[string]int{}
	for _, block := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		language, code := block[1], strings.ReplaceAll(block[2], "localhost:8000", "localhost:"+port)
		ran[language]++
		t.Run(language+string(rune('0'+ran[language])), func(t *testing.T) {
			var printed string
			if language == "js" {
				require(t, "node")
				printed = string(node(t, "--input-type=module", "--eval", code))
			} else {
				require(t, "curl")
				output, err := exec.Command("bash", "-euo", "pipefail", "-c", code).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s\n%s", err, code, output)
				}
				printed = string(output)
			}
			if !regexp.MustCompile(`"?result"?: ?5\b`).MatchString(printed) {
				t.Errorf("2 + 3 is not 5 in what it printed:\n%s", printed)
			}
		})
	}
	if ran["sh"] != 2 || ran["js"] != 1 {
		t.Errorf("README has %v blocks to try, want 2 of sh and 1 of js", ran)
	}
}
