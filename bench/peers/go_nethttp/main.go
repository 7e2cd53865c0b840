// Go with its standard library alone: net/http on both sides, encoding/json between. Sections stay
// json.RawMessage, which is checked and compacted but does not become a tree: that is faster.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
)

type section struct{ name, url string }

type answer struct {
	Data map[string]json.RawMessage `json:"data"`
}

func fetch(ctx context.Context, client *http.Client, url string) (json.RawMessage, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return body, nil
}

func dashboard(client *http.Client, sections []section) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		values := make([]json.RawMessage, len(sections))
		errs := make([]error, len(sections))
		var calls sync.WaitGroup
		for i, s := range sections {
			calls.Add(1)
			go func() {
				defer calls.Done()
				values[i], errs[i] = fetch(r.Context(), client, s.url)
			}()
		}
		calls.Wait()
		data := make(map[string]json.RawMessage, len(sections))
		for i, s := range sections {
			if errs[i] != nil {
				http.Error(w, errs[i].Error(), http.StatusBadGateway)
				return
			}
			data[s.name] = values[i]
		}
		body, err := json.Marshal(answer{data})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	}
}

func main() {
	var declared map[string]map[string]string
	if err := json.Unmarshal([]byte(os.Getenv("BENCH_DASHBOARDS")), &declared); err != nil {
		log.Fatal(err)
	}
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true},
	}
	for name, paths := range declared {
		var sections []section
		for label, path := range paths {
			sections = append(sections, section{label, os.Getenv("BENCH_UPSTREAM") + path})
		}
		http.HandleFunc("GET /"+name, dashboard(client, sections))
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("BENCH_PORT"), nil))
}
