module tools/cron

go 1.27.0

tool tools/cron/v3

replace tools/cron/v3 => ./program

// The version with which Kubernetes 1.34 and 1.37 read schedules, also for our program that shows it.
require (
	github.com/robfig/cron/v3 v3.0.1 // indirect
	tools/cron/v3 v3.0.1 // indirect
)
