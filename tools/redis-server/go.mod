module tools/redis-server

go 1.27.0

tool tools/redis-server/v2

replace tools/redis-server/v2 => ./program

// The library has the cache; the program only starts it.
require (
	github.com/alicebob/miniredis/v2 v2.40.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	tools/redis-server/v2 v2.40.0 // indirect
)
