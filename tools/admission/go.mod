// Only what builds it names versions: tools/kubernetes-1.34, tools/kubernetes-1.37.
module tools/admission

go 1.27.0
