// Only what builds it names versions: tools/cron.
module tools/cron/v3

go 1.27.0
