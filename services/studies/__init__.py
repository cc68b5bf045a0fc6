"""The whole journey: compares the methods, decides, reports. Does nothing that a caller of the gateway cannot do.

servicer     the door: proto -> domain call -> proto
plan         StudySpec -> steps with fingerprints
preflight    checks and estimates before anything is paid for
run          the operation, from the top
ensure       one step's resource: found, waited for, or made
requests     step -> the request that makes its resource
journal      how the steps stand: notes, Study, events
records      SQL rows of events and reports
analyse      what was gathered -> what was found
costs        build and question costs, break-even
statistics   pooled means and paired differences over clusters
coverage     which probes the augmented rows answer
decide       which method to use
report       what was found -> report.json
render       report.json -> report.md and report.html
plots        the two drawings
failures     the gateway's errors as this service's own
"""
