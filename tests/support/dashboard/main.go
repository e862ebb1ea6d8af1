// Validates a dashboard with Grafana's own schema: every field of the dashboard, of its panels and of their queries.
//
// Reads the JSON of a dashboard from standard input. Exits with 1 and the errors if it is not valid.
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

// The library can return an empty list of errors.
func finding(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}
