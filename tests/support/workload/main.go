// workload is the program of the test Pods. Without arguments it holds a Pod's namespaces open, like Kubernetes' pause
// container. With the argument "serve" it is an application that uses a token: it reads the token from a file for each
// request, calls the tenant with it, and serves its state on port 8080.
//
// It serves digests, never a token.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type state struct {
	// The digest of the token in the file, and when it was first read there, in milliseconds since 1970.
	File      string `json:"file"`
	FileSince int64  `json:"fileSince"`
	// The digest of the token in the environment.
	Environment string `json:"environment"`
	// The tenant's status for a request with the token of the file, and with that of the environment.
	FileStatus        int `json:"fileStatus"`
	EnvironmentStatus int `json:"environmentStatus"`
	// The context file of qlik-cli, with the token removed.
	Contexts string `json:"contexts"`
}

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		go serve()
	}
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		// Process 1 of a Pod reaps orphaned processes.
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

func serve() {
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile("/ca/ca.crt"); err == nil {
		roots.AppendCertsFromPEM(pem)
	}
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	file := os.Getenv("TOKEN_FILE")
	seen, since := "", int64(0)
	current := func() (string, string, int64) {
		token := read(file)
		if sum := digest(token); sum != seen {
			seen, since = sum, time.Now().UnixMilli()
		}
		return token, seen, since
	}
	requests := make(chan chan state)
	go func() {
		ticks := time.Tick(20 * time.Millisecond)
		for {
			select {
			case <-ticks:
				current()
			case answer := <-requests:
				token, sum, at := current()
				environment := os.Getenv("QLIK_TOKEN")
				contexts := read(os.Getenv("HOME") + "/.qlik/contexts.yml")
				answer <- state{
					File: sum, FileSince: at, Environment: digest(environment),
					FileStatus: call(client, token), EnvironmentStatus: call(client, environment),
					Contexts: strings.ReplaceAll(contexts, read(os.Getenv("HOME")+"/.qlik/token"), "TOKEN"),
				}
			}
		}
	}()
	http.HandleFunc("/", func(writer http.ResponseWriter, _ *http.Request) {
		answer := make(chan state)
		requests <- answer
		_ = json.NewEncoder(writer).Encode(<-answer)
	})
	if err := http.ListenAndServe(":8080", nil); err != nil {
		os.Exit(1)
	}
}

// call requests users/me with the token. It returns 0 if there is no token or no response.
func call(client *http.Client, token string) int {
	if token == "" {
		return 0
	}
	request, err := http.NewRequest(http.MethodGet, os.Getenv("TENANT_URL")+"/api/v1/users/me", nil)
	if err != nil {
		return 0
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

func read(path string) string {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(bytes)
}

func digest(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
