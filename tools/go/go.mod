// Go itself, for machines whose PATH has none that is new enough.
module tools/go

go 1.27.0

toolchain go1.27.3
