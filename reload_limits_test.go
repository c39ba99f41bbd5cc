package hangar_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/aabb9013/hangar"
)

// TestLimitsOfTheNodeApplyInPlace: the bounds of the file hold from the reload on.
func TestLimitsOfTheNodeApplyInPlace(t *testing.T) {
	path := writeConfig(t, quiet+"limits: {max_calls: 1}\n"+stubYAML("a"))
	rt := open(t, hangar.Options{ConfigFile: path})
	echo(t, rt, "a")
	sleeping := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			_, err := rt.Call(ctx, "a", "sleep", map[string]any{"ms": 600000})
			if !errors.Is(err, hangar.ErrOverloaded) { // by the second one
				sleeping <- err
				return
			}
		}
	}()
	second := func() error {
		_, err := rt.Call(t.Context(), "a", "echo", map[string]any{"text": "x"})
		return err
	}
	eventually(t, "the first call in flight", func() bool { return errors.Is(second(), hangar.ErrOverloaded) })
	for i, c := range []struct {
		limits string
		taken  bool
	}{{"max_calls: 1", false}, {"max_calls: 2, memory_budget: 4g", true}, {"max_calls: 0", true}, {"max_calls: 1, memory_budget: 50%", false}} {
		rewrite(t, path, quiet+"limits: {"+c.limits+"}\n"+stubYAML("a"))
		result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
		if err != nil || fmt.Sprint(result.RestartRequired) != "[]" {
			t.Fatalf("%d: %+v, %v", i, result, err)
		}
		if err := second(); c.taken != (err == nil) || !c.taken && !errors.Is(err, hangar.ErrOverloaded) {
			t.Errorf("%s: the second call: %v", c.limits, err)
		}
	}
	cancel()
	<-sleeping
}
