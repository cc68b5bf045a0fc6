CREATE TABLE augmenter_output (
  project VARCHAR(127) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  storage_key TEXT NOT NULL,
  position INTEGER NOT NULL,
  made_for VARCHAR(255) NOT NULL,
  PRIMARY KEY (project, digest)
);
CREATE TABLE augmenter_output_sight (
  project VARCHAR(127) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  sight VARCHAR(64) NOT NULL,
  PRIMARY KEY (project, digest)
);
CREATE INDEX augmenter_output_sight_sight ON augmenter_output_sight (project, sight);
CREATE TABLE augmenter_rate (
  project VARCHAR(127) NOT NULL,
  model_sha256 VARCHAR(64) NOT NULL,
  strategy VARCHAR(63) NOT NULL,
  source VARCHAR(255) NOT NULL,
  measured TEXT NOT NULL,
  PRIMARY KEY (project, model_sha256, strategy)
);
CREATE TABLE augmenter_sight (
  project VARCHAR(127) NOT NULL,
  document VARCHAR(64) NOT NULL,
  sight VARCHAR(64) NOT NULL,
  PRIMARY KEY (project, document, sight)
);
CREATE TABLE context_lease (
  context VARCHAR(255) NOT NULL,
  ttl_s FLOAT NOT NULL,
  used FLOAT NOT NULL,
  PRIMARY KEY (context)
);
CREATE TABLE inference_batch_part (
  batch VARCHAR(255) NOT NULL,
  start_row BIGINT NOT NULL,
  row_count INTEGER NOT NULL,
  begin_byte BIGINT NOT NULL,
  end_byte BIGINT NOT NULL,
  answer_count INTEGER NOT NULL,
  storage_key TEXT NOT NULL,
  PRIMARY KEY (batch, start_row)
);
CREATE TABLE key_digest (
  name VARCHAR(255) NOT NULL,
  digest VARCHAR(64),
  PRIMARY KEY (name)
);
CREATE TABLE model_upload (
  project VARCHAR(127) NOT NULL,
  upload VARCHAR(64) NOT NULL,
  files TEXT NOT NULL,
  part_bytes BIGINT NOT NULL,
  touched FLOAT NOT NULL,
  PRIMARY KEY (project, upload)
);
CREATE TABLE operation (
  sequence BIGSERIAL NOT NULL,
  name VARCHAR(255) NOT NULL,
  project VARCHAR(127) NOT NULL,
  target VARCHAR(255) NOT NULL,
  verb VARCHAR(63) NOT NULL,
  state VARCHAR(15) NOT NULL,
  request BYTEA NOT NULL,
  request_id VARCHAR(127) NOT NULL,
  request_sha256 VARCHAR(64) NOT NULL,
  metadata BYTEA NOT NULL,
  notes TEXT NOT NULL,
  result BYTEA,
  error BYTEA,
  owner VARCHAR(63),
  lease_until FLOAT,
  fence INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  causes TEXT NOT NULL,
  cancel_requested BOOLEAN NOT NULL,
  not_before FLOAT NOT NULL,
  created FLOAT NOT NULL,
  updated FLOAT NOT NULL,
  PRIMARY KEY (sequence),
  UNIQUE (project, verb, request_id),
  UNIQUE (name)
);
CREATE INDEX operation_queue ON operation (state, not_before, lease_until);
CREATE TABLE resource (
  sequence BIGSERIAL NOT NULL,
  name VARCHAR(255) NOT NULL,
  collection VARCHAR(63) NOT NULL,
  parent VARCHAR(127) NOT NULL,
  body BYTEA NOT NULL,
  request_id VARCHAR(127),
  request_sha256 VARCHAR(64),
  created FLOAT NOT NULL,
  deleted FLOAT,
  PRIMARY KEY (sequence),
  UNIQUE (parent, collection, request_id),
  UNIQUE (name)
);
CREATE INDEX resource_page ON resource (parent, collection, sequence);
CREATE TABLE study_event (
  study VARCHAR(255) NOT NULL,
  sequence BIGINT NOT NULL,
  content BYTEA NOT NULL,
  PRIMARY KEY (study, sequence)
);
CREATE TABLE study_report (
  study VARCHAR(255) NOT NULL,
  form VARCHAR(16) NOT NULL,
  storage_key TEXT NOT NULL,
  sha256 VARCHAR(64) NOT NULL,
  PRIMARY KEY (study, form)
);
CREATE TABLE training_attempt (
  model VARCHAR NOT NULL,
  first_step INTEGER NOT NULL,
  prefix VARCHAR NOT NULL,
  step_count INTEGER NOT NULL,
  PRIMARY KEY (model, first_step)
);
CREATE TABLE training_rate (
  key VARCHAR NOT NULL,
  source VARCHAR NOT NULL,
  device VARCHAR NOT NULL,
  dtype VARCHAR NOT NULL,
  method VARCHAR NOT NULL,
  size_bucket INTEGER NOT NULL,
  measured JSON NOT NULL,
  measure_time FLOAT NOT NULL,
  PRIMARY KEY (key, source)
);
