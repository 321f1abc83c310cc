// Only what builds it names versions: tools/redis-server.
module tools/redis-server/v2

go 1.27.0
