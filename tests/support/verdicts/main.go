// Says what other tools make of an object: kstatus, by which Flux and Helm 4 wait, and Argo CD with our health script.
//
// Reads a JSON array of objects from standard input and writes a JSON array of {kstatus, argo} to standard output. The
// libraries are those that the tools themselves use; nothing of their judgement is written again here.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Kstatus string `json:"kstatus"`
	Argo    string `json:"argo"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "verdicts:", err)
		os.Exit(1)
	}
}

func run() error {
	script, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var objects []map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return err
	}
	verdicts := make([]verdict, 0, len(objects))
	for _, object := range objects {
		result, err := status.Compute(&unstructured.Unstructured{Object: whole(object).(map[string]any)})
		if err != nil {
			return err
		}
		health, err := argo(string(script), object)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict{Kstatus: result.Status.String(), Argo: health})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

// Unstructured objects hold whole numbers as int64, where encoding/json makes every number a float64.
func whole(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			value[key] = whole(inner)
		}
	case []any:
		for i, inner := range value {
			value[i] = whole(inner)
		}
	case float64:
		return int64(value)
	}
	return value
}

func argo(script string, object map[string]any) (string, error) {
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", table(state, object))
	if err := state.DoString(script); err != nil {
		return "", err
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", fmt.Errorf("the health script returned no table")
	}
	return health.RawGetString("status").String(), nil
}

func table(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		result := state.NewTable()
		for key, inner := range value {
			result.RawSetString(key, table(state, inner))
		}
		return result
	case []any:
		result := state.NewTable()
		for _, inner := range value {
			result.Append(table(state, inner))
		}
		return result
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}
