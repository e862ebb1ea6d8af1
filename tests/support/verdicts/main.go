// Prints how other tools assess an object: kstatus, which Flux and Helm 4 use, and Argo CD with our scripts.
//
// Reads a JSON array of objects from standard input. With one argument, the health script, it writes a JSON array of
// {kstatus, argo} to standard output. With two, an action's discovery script and the action, it writes one of
// {actions, object}. It uses the tools' own libraries and does not reimplement their logic.
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
	var scripts []string
	for _, file := range os.Args[1:] {
		script, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		scripts = append(scripts, string(script))
	}
	var objects []map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return err
	}
	if len(scripts) == 2 {
		return act(scripts[0], scripts[1], objects)
	}
	verdicts := make([]verdict, 0, len(objects))
	for _, object := range objects {
		result, err := status.Compute(&unstructured.Unstructured{Object: whole(object).(map[string]any)})
		if err != nil {
			return err
		}
		health, err := argo(scripts[0], object)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict{Kstatus: result.Status.String(), Argo: health})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

// Unstructured objects have whole numbers as int64, while encoding/json decodes every number as float64.
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
	health, err := call(script, object)
	if err != nil {
		return "", err
	}
	return health.RawGetString("status").String(), nil
}

// Lists the actions and runs the given one.
func act(discovery, action string, objects []map[string]any) error {
	type result struct {
		Actions any `json:"actions"`
		Object  any `json:"object"`
	}
	results := make([]result, 0, len(objects))
	for _, object := range objects {
		whole(object)
		actions, err := call(discovery, object)
		if err != nil {
			return err
		}
		changed, err := call(action, object)
		if err != nil {
			return err
		}
		results = append(results, result{plain(actions), plain(changed)})
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

// Runs a script as Argo CD does: with the object as `obj`, few libraries, and only the time functions of `os`.
func call(script string, object map[string]any) (*lua.LTable, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.OsLibName, lua.OpenOs},
	} {
		state.Push(state.NewFunction(library.open))
		state.Push(lua.LString(library.name))
		state.Call(1, 0)
	}
	system := state.GetGlobal(lua.OsLibName).(*lua.LTable)
	system.ForEach(func(name, _ lua.LValue) {
		if name.String() != "date" && name.String() != "time" {
			system.RawSet(name, lua.LNil)
		}
	})
	state.SetGlobal("obj", table(state, object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script returned no table")
	}
	return result, nil
}

// Converts Lua values that JSON supports.
func plain(value lua.LValue) any {
	switch value := value.(type) {
	case *lua.LTable:
		if value.Len() > 0 {
			var list []any
			value.ForEach(func(_, inner lua.LValue) { list = append(list, plain(inner)) })
			return list
		}
		fields := map[string]any{}
		value.ForEach(func(key, inner lua.LValue) { fields[key.String()] = plain(inner) })
		return fields
	case lua.LString:
		return string(value)
	case lua.LBool:
		return bool(value)
	case lua.LNumber:
		return float64(value)
	default:
		return nil
	}
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
