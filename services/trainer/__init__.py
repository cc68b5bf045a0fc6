"""models/: brings base models in, fine-tunes them, keeps what comes out.

settings     what the process needs
servicer     proto -> domain call -> proto
models       get, list, delete; what callers may see
imports      a base model from a hub, a folder, object storage or this repository
importing    ImportModel, UploadModel and FinishModelUpload as operations
in_place     a model whose files stay in somebody's bucket
endpoints    models that other servers answer for: no files, no training
uploads      a base model sent by the caller, in one stream
parts        the same in parts, resumable
sketches     files as inspection needs them, without the weights
downloads    a model's files on their way out
inspection   what a folder of files is, without torch: architecture, size, window, template
files        a model's folder in object storage: manifest, digest, fetching
spec         TrainingSpec -> complete TrainingConfig
config       TrainingConfig, and what is known of the data
estimate     what a training will take
rows         dataset rows -> token sequences with labels
packing      token sequences -> rows of equal length without padding between
prepare      rows + packing in a process of its own (transformers' tokenizers load torch)
datasource   the rows through the gateway, packed by prepare
training     CreateModel from the trainer's side: data, Ray job, progress, result
plan         what every attempt at it does
running      its Ray jobs: attached to or launched, watched, stopped
committing   which of their checkpoints count
endings      how an attempt without a result ends: tried again, or an error with advice
pausing      trainings that are paused and go on, with other workers and more time
resuming     a new training from the checkpoint that a failed one left
sweeping     what an ended training leaves in object storage, and who takes it away
summary      losses, tokens, cost and environment of a training
jobs         Ray jobs: submit, watch, stop
exchange     what trainer and Ray job tell each other, by keys in object storage
progress     training steps: written by the job
attempts     which attempts trained a model, from which step on
history      their steps as one run, for watchers
driver       the Ray job: resources, search, workers
search       the learning rates tried before, by Ray Tune
trying       one of those trials
workers      the same function on all Ray Train workers
loading      base model with adapters, checked; attention, number formats, what is refused
attention    texts that lie in a line attend within themselves
adapters     peft's adapters, their products in one
tokens       what of a micro-batch is read, and where its targets are
losses       the head at the targets, logits in parts
engine       DeepSpeed's engine
plain_engine the same without DeepSpeed
bare         training without Ray, DeepSpeed and services
refusals     why a training cannot be
loop         one Ray Train worker: model, engine, steps, export
steps        all its optimizer steps: measure, tell, take checkpoints, end early
evaluating   what they measure: held-out rows, probes, the best step, when to stop
saving       checkpoints brought to object storage beside the training
stopping     a training that is to end before its last step
failures     what a worker's error means, and what to do
deaths       why processes died without a word; what would need less memory
scratch      an attempt's folders on a machine's disk
outages      object storage that is away for a while
data         packed rows as tensors, by step and worker
step         one optimizer step
metering     what it uses
checkpoints  DeepSpeed's state to object storage and back
parity       what the trained model says of fixed tokens
export       the trained model's files
card         its README.md
citing       the data that the card names
verifying    the parity gate: inference is asked for the same tokens
"""
