package mounted

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type seen struct{ path, authorization, body string }

// A server with a configurable response that records its requests.
func server(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, body string)) (*httptest.Server, *[]seen) {
	var all []seen
	here := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		all = append(all, seen{r.URL.Path, r.Header.Get("Authorization"), string(body)})
		answer(w, r, string(body))
	}))
	t.Cleanup(here.Close)
	return here, &all
}

func put(t *testing.T, dir, name, text string) {
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func client(t *testing.T, tenant *httptest.Server) (http.Client, string) {
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	dir := t.TempDir()
	put(t, dir, "host", strings.TrimPrefix(tenant.URL, "https://"))
	put(t, dir, "authorization", "Bearer first")
	return http.Client{Transport: Mounted{dir}}, dir
}

func TestARedirectToAnotherHostGetsNoToken(t *testing.T) {
	elsewhere, there := server(t, func(http.ResponseWriter, *http.Request, string) {})
	plain := httptest.NewServer(elsewhere.Config.Handler)
	t.Cleanup(plain.Close)
	for _, target := range []string{elsewhere.URL + "/x", plain.URL + "/x"} {
		tenant, here := server(t, func(w http.ResponseWriter, r *http.Request, _ string) {
			http.Redirect(w, r, target, http.StatusFound)
		})
		client, _ := client(t, tenant)
		answer, err := client.Get(tenant.URL + "/api/v1/users/me")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		last := (*there)[len(*there)-1]
		if (*here)[0].authorization != "Bearer first" || last.path != "/x" || last.authorization != "" {
			t.Fatal(*here, *there)
		}
	}
}

func TestAPlainConnectionToTheTenantGetsNoToken(t *testing.T) {
	tenant, _ := server(t, func(http.ResponseWriter, *http.Request, string) {})
	plain, there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.Header.Get("Authorization"))
	})), ""
	t.Cleanup(plain.Close)
	client, dir := client(t, tenant)
	put(t, dir, "host", strings.TrimPrefix(plain.URL, "http://"))
	answer, err := client.Get(plain.URL)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if there = answer.Header.Get("X-Seen"); there != "" {
		t.Fatal(there)
	}
}

func TestAPostIsSentAgainWithItsBodyWhenTheTokenWasReplaced(t *testing.T) {
	var dir string
	tenant, here := server(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		if r.Header.Get("Authorization") != "Bearer second" {
			put(t, dir, "authorization", "Bearer second")
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	client, at := client(t, tenant)
	dir = at
	answer, err := client.Post(tenant.URL+"/api/v1/apps", "application/json", strings.NewReader(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	want := []seen{{"/api/v1/apps", "Bearer first", `{"a":1}`}, {"/api/v1/apps", "Bearer second", `{"a":1}`}}
	if answer.StatusCode != http.StatusOK || len(*here) != 2 || (*here)[0] != want[0] || (*here)[1] != want[1] {
		t.Fatal(answer.StatusCode, *here)
	}
}

func TestWithTheSameTokenOrABodyThatCannotBeRepeatedTheResponseIsReturned(t *testing.T) {
	tenant, here := server(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(http.StatusUnauthorized)
	})
	client, dir := client(t, tenant)
	stream := func() io.Reader { return struct{ io.Reader }{strings.NewReader("once")} }
	for n, body := range []io.Reader{nil, stream()} {
		if n == 1 {
			put(t, dir, "authorization", "Bearer second")
		}
		answer, err := client.Post(tenant.URL, "text/plain", body)
		if err != nil || answer.StatusCode != http.StatusUnauthorized || len(*here) != n+1 {
			t.Fatal(err, answer, *here)
		}
		answer.Body.Close()
	}
}
