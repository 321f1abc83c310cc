// Program cron reads schedules, one a line, and prints how robfig/cron reads each, as a line of JSON:
// why it is invalid, or its first starts from 2024 on, in seconds since 1970, and the least and the most
// seconds between two starts up to March 2028, or of the first starts. Kubernetes uses the same library.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	shown = 20
	most  = 5000
)

type answer struct {
	Error    string  `json:"error,omitempty"`
	Starts   []int64 `json:"starts"`
	All      bool    `json:"all"`
	Shortest int64   `json:"shortest"`
	Longest  int64   `json:"longest"`
}

func main() {
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := out.Encode(judged(lines.Text())); err != nil {
			panic(err)
		}
	}
}

func judged(text string) answer {
	schedule, err := cron.ParseStandard(text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{Starts: []int64{}}
	end := time.Date(2028, time.March, 2, 0, 0, 0, 0, time.UTC)
	previous := time.Date(2023, time.December, 31, 23, 59, 59, 0, time.UTC)
	for count := range most {
		next := schedule.Next(previous)
		if next.IsZero() || !next.Before(end) {
			found.All = true
			break
		}
		if count < shown {
			found.Starts = append(found.Starts, next.Unix())
		}
		if gap := next.Unix() - previous.Unix(); count > 0 {
			if found.Shortest == 0 || gap < found.Shortest {
				found.Shortest = gap
			}
			found.Longest = max(found.Longest, gap)
		}
		previous = next
	}
	return found
}
