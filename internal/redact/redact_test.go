package redact

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

const canary = "hunter2-canary"

func TestFormsOfSecretsAreHidden(t *testing.T) {
	for _, text := range []string{
		`{"password":"hunter2-canary","a":1}`,
		`{"a":{"API_Key": "hunter2-canary"}}`,
		`{"a":[{"x":{"credentials":{"user":"u","pw":"hunter2-canary"}}}]}`,
		`{"tokens":["x","hunter2-canary"]}`,
		`{"pass\u0077ord":"hunter2-canary"}`,
		`{"secret":"with \"quotes\" hunter2-canary"}`,
		`{"text":"{\"password\":\"hunter2-canary\"}"}`,
		`{"secret":"cut off hunter2-canary`,
		`{"secret":{"cut":"off hunter2-canary`,
		`Authorization: Bearer hunter2-canary`,
		`authorization=Basic hunter2-canary`,
		`curl -H "X-Auth: bearer hunter2-canary"`,
		`PASSWORD=hunter2-canary`,
		`export DB_PASSWORD='hunter2-canary'`,
		`password: correct horse hunter2-canary`,
		`running x --api-key hunter2-canary --level 3`,
		`running x --api-key=hunter2-canary`,
		`{'token': 'hunter2-canary'}`,
		`env["API_KEY"] = "hunter2-canary"`,
		`postgres://user:hunter2-canary@db/x`,
		`got https://hunter2-canary@example.com/x?y`,
		`ghp_hunter2-canary0000`,
		`access_token => hunter2-canary`,
	} {
		if got := (*Redactor)(nil).Text(text); strings.Contains(got, canary) || !strings.Contains(got, Mark) {
			t.Errorf("%s\nbecame %s", text, got)
		}
	}
}

func TestOrdinaryTextStays(t *testing.T) {
	for _, text := range []string{
		"", "Segmentation fault (core dumped)", "KeyError: 'region'", `Traceback: File "x.py", line 3, in main`,
		`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":[2,3]}}}`,
		"listening on http://127.0.0.1:8000/x?a=b", "monkey business", "SyntaxError: Unexpected token } in JSON",
		"https://host/@scope/package", "a@b.example",
	} {
		if got := (*Redactor)(nil).Text(text); got != text {
			t.Errorf("%s\nbecame %s", text, got)
		}
	}
}

func TestSecretsOfAServerAreHiddenWhereverTheyStand(t *testing.T) {
	r := (*Redactor)(nil).Add(
		[]string{"x", "--api-key", "argument one", "TOKEN=argument/two", "--url=https://u:argument3@h/x", "plain", "sk-argument0000000004"},
		map[string]string{
			"APP_SECRET": "env \"one\"\nsecond line\n", "PLAIN": "env2A9f0000000000000000", "DSN": "mysql://root:env3pass@db/x",
			"MODE": "production", "SHORT_KEY": "on", "ENDPOINT": "https://h/x?mode=production&api_key=query%2Fone&sig=query2A9f000000000000#top",
		})
	for _, secret := range []string{
		"argument one", "argument/two", "argument3", "sk-argument0000000004",
		`env "one"`, "second line", "env2A9f0000000000000000", "env3pass", `env \"one\"\nsecond line`,
		"argument+one", "argument%2Ftwo", "query/one", "query%2Fone", "query2A9f000000000000",
	} {
		if got := r.Text("before " + secret + " after"); strings.Contains(got, secret) || !strings.HasPrefix(got, "before ") {
			t.Errorf("%q became %q", secret, got)
		}
	}
	for _, text := range []string{"production", "turned on", "plain"} {
		if got := r.Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	more := r.Add(nil, map[string]string{"KEY": "a later secret"})
	if got := more.Text("a later secret, argument one"); got != "***, ***" {
		t.Errorf("after an addition: %q", got)
	}
}

func TestExcerptIsBoundedAndCutsNoSecretOpen(t *testing.T) {
	r := (*Redactor)(nil).Add(nil, map[string]string{"KEY": canary})
	text := strings.Repeat("é", 100) + canary + strings.Repeat("x", 10_000)
	for limit := 4; limit < 300; limit++ {
		got := r.Excerpt(text, limit, false)
		if len(got) > limit+len("…") || !utf8.ValidString(got) || strings.Contains(got, canary[:minSecret]) {
			t.Fatalf("limit %d: %q", limit, got)
		}
	}
	for n := minSecret; n < len(canary); n++ {
		if got := r.Excerpt("x "+canary[:n], 100, true); got != "x ***" {
			t.Errorf("cut after %d bytes of the secret: %q", n, got)
		}
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add("password", "x", `{"a":`, `}`, 10)
	f.Add("api_\"key", "y\n", "--token ", ": b", 3)
	f.Fuzz(func(t *testing.T, name, filler, before, after string, cut int) {
		r := (*Redactor)(nil).Add(nil, map[string]string{"KEY": canary})
		for _, text := range []string{before + canary + after, before + filler + canary + canary} {
			if got := r.Text(text); strings.Contains(got, canary) {
				t.Fatalf("%q\nbecame %q", text, got)
			}
		}
		// A sensitive member hides its whole value, also where the text ends early.
		quotedName, _ := json.Marshal(name + "secret")
		value, _ := json.Marshal(map[string]any{filler: []string{filler + canary}})
		text := fmt.Sprintf(`{"a":{%s: %s},"b":1}`, quotedName, value)
		if cut < 0 {
			cut = -(cut + 1)
		}
		text = text[:len(text)-cut%len(text)]
		if got := (*Redactor)(nil).Text(text); strings.Contains(got, canary) {
			t.Fatalf("%q\nbecame %q", text, got)
		}
		if got := (*Redactor)(nil).Excerpt(before+after, 64, cut%2 == 0); len(got) > 64+len("…") {
			t.Fatalf("%d bytes", len(got))
		}
	})
}

func TestNoSecretIsLeftInACommand(t *testing.T) {
	for want, command := range map[string][]string{
		"npx -H Authorization: ***":          {"npx", "-H", "Authorization: Bearer hunter2"},
		"npx --header=X-Api-Key: ***":        {"npx", "--header=X-Api-Key: hunter2"},
		"npx ***":                            {"npx", "ghp_hunter2hunter2hunter2"},
		"npx --api-key *** --token=*** A=1":  {"npx", "--api-key", "hunter2", "--token=hunter2", "A=1"},
		"npx --token *** --verbose":          {"npx", "--token", "-Hhunter2hunter2hunter2", "--verbose"},
		"npx -y @scope/server-x /srv/a:/b x": {"npx", "-y", "@scope/server-x", "/srv/a:/b", "x"},
	} {
		got := strings.Join(Command(command), " ")
		if strings.Contains(got, "hunter2") || got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHoldsToken(t *testing.T) {
	for text, want := range map[string]bool{
		"uses ghp_hunter2hunter2hunter2.": true, "sk-hunter2hunter2hunter2": true, "é:sk-hunter2hunter2hunter2": true,
		"token: counts tokens": false, "sk-short": false, "": false,
	} {
		if HoldsToken(text) != want {
			t.Errorf("%q: not %v", text, want)
		}
	}
}
