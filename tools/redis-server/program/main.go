// Program redis-server is Argo CD's cache: it answers like Redis at an address of this machine, keeps
// everything in memory, and ends with its process. Usage: redis-server 127.0.0.1:6379
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// The library's clock stands still unless it is moved: without this, nothing would ever expire.
const tick = time.Second

func main() {
	if len(os.Args) != 2 {
		fail("write the address to listen at: redis-server 127.0.0.1:6379")
	}
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(os.Args[1]); err != nil {
		fail(err)
	}
	defer server.Close()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	for before := time.Now(); ; {
		select {
		case <-ended:
			return
		case now := <-time.After(tick):
			server.FastForward(now.Sub(before))
			before = now
		}
	}
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "redis-server:", why)
	os.Exit(2)
}
