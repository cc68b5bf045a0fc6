"""The whole journey: compares the methods, decides, reports. Does nothing that a caller of the gateway cannot do.

servicer     the door: proto -> domain call -> proto

What is to be compared, and whether it can be:
spec         a caller's StudySpec -> the same with every default written out
methods      the ways there are, and who takes part with which model
augmenting   which strategies are local and which global
plan         StudySpec -> steps with fingerprints
preflight    the inputs, read and looked at before anything is paid for
checks       whether inputs fit together: pure
counting     how many tokens are read
repeats      probes that say the same twice, or contradict
rehearsal    what every service estimates, and the sum
trial        how long steps will take, from small ones that are really done
sampling     the small part that stands for the whole: pure

Doing it:
run          the operation, from the top
ensure       one step's resource: found, waited for, or made
leaving      a derived dataset without the rows that the spec excludes
requests     step -> the request that makes its resource
journal      how the steps stand: notes, Study, events
records      SQL rows of events and reports
reuse        how much was done anew
failures     the gateway's errors as this service's own
gather       what was made -> material: answers, rows, contexts, times
latency      single questions, timed

Concluding, all pure:
material     all that was gathered
analyse      what was gathered -> what was found
statistics   pooled means and paired differences over clusters
coverage     which probes the augmented rows answer
labels       which augmented rows hold a question or an answer
retention    what weights keep of what nobody trained them on
costs        build and question costs, break-even
bill         work -> money, by the operator's prices
pricing      a participant's measured work -> its bill
limits       budget and time
decide       which method to use
changes      what would change that
findings     all that a report is made of

Telling it, all pure:
report       what was found -> report.json (report_methods, report_augmentation, report_inputs: parts of it)
notes        what a reader must know
render       report.json -> report.md and report.html
plots        the two drawings
"""
