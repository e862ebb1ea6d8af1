// Receives traces by OTLP over HTTP, as a collector does, decoded with OpenTelemetry's own types.
//
// Writes its address to standard output, then each request as one line of JSON. A request that is not OTLP gets a 4xx
// response and is reported on standard error.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const contentType = "application/x-protobuf"

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	// Runs until the test closes its standard input.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	http.HandleFunc("POST /v1/traces", receive)
	err = http.Serve(listener, nil)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func receive(w http.ResponseWriter, r *http.Request) {
	if given := r.Header.Get("Content-Type"); given != contentType {
		refuse(w, http.StatusUnsupportedMediaType, fmt.Errorf("content type %q", given))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	// The same fields as in ExportTraceServiceRequest, whose package needs gRPC.
	var data trace.TracesData
	if err := proto.Unmarshal(body, &data); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	line, err := protojson.Marshal(&data)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	fmt.Println(string(line))
	// An ExportTraceServiceResponse without a partial success is empty.
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
}

func refuse(w http.ResponseWriter, code int, err error) {
	fmt.Fprintln(os.Stderr, err)
	http.Error(w, "refused", code)
}
