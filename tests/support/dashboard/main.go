// Says whether Grafana's own schema knows a dashboard: every field of it, of its panels and of their queries.
//
// Reads the JSON of a dashboard from standard input; exits with 1 and the reasons when there is something to criticise.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	if err := check(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(input io.Reader) error {
	text, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	var read dashboard.Dashboard
	if err := finding(read.UnmarshalJSONStrict(text)); err != nil {
		return err
	}
	return finding(read.Validate())
}

// The library may return a list of errors that is empty.
func finding(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}
