// The whole road with stubs from the protos bundle and @grpc/grpc-js: upload, study, report, ask. See ../README.md.
import { randomUUID } from "node:crypto";
import { credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { Operation, OperationsClient } from "./gen/google/longrunning/operations";
import { Dataset, DatasetsClient, UploadDatasetRequest } from "./gen/ingrain/v1/datasets";
import { GenerateRequest, GenerateResponse, InferenceClient } from "./gen/ingrain/v1/inference";
import { CreateStudyRequest, GetReportRequest, GetReportResponse, StudiesClient, Study } from "./gen/ingrain/v1/studies";
import { ImportModelRequest, Model, TrainerClient } from "./gen/ingrain/v1/trainer";

const [target = "localhost:7070", source = "bundled://small"] = process.argv.slice(2);
const parent = "projects/default";
const documents = '{"id": "d", "text": "bralo are warmer than cemid."}\n';
const probes = '{"id": "p", "kind": "reversal", "prompt": "cemid are", "choices": ["colder than bralo.", "warmer than bralo."], "answer": "colder than bralo."}\n';
const metadata = new Metadata();
if (process.env.INGRAIN_API_KEY) metadata.set("authorization", `Bearer ${process.env.INGRAIN_API_KEY}`);
const plain = credentials.createInsecure(); // with TLS: credentials.createSsl(authority)
const [datasets, trainer, studies, inference, operations] = [
  new DatasetsClient(target, plain), new TrainerClient(target, plain), new StudiesClient(target, plain),
  new InferenceClient(target, plain), new OperationsClient(target, plain),
];

type Done<T> = (error: ServiceError | null, response: T) => void;
type Method<Q, R> = (request: Q, metadata: Metadata, options: { deadline: number }, done: Done<R>) => unknown;
function call<Q, R>(client: object, method: Method<Q, R>, request: Q): Promise<R> {
  const deadline = Date.now() + 60_000;
  return new Promise((resolve, reject) =>
    method.call(client, request, metadata, { deadline }, (error, response) => (error ? reject(error) : resolve(response))));
}
function upload(rows: string): Promise<Dataset> { // a header, then the bytes in chunks of at most 1 MiB
  return new Promise((resolve, reject) => {
    const stream = datasets.uploadDataset(metadata, (error, dataset) => (error ? reject(error) : resolve(dataset)));
    stream.write(UploadDatasetRequest.fromPartial({ header: { parent, requestId: randomUUID() } }));
    stream.end(UploadDatasetRequest.fromPartial({ chunk: Buffer.from(rows) }));
  });
}
async function wait(operation: Operation): Promise<Buffer> { // in pieces, so that no proxy cuts a long call
  while (!operation.done) {
    const request = { name: operation.name, timeout: { seconds: 10, nanos: 0 } };
    operation = await call(operations, operations.waitOperation as Method<object, Operation>, request);
  }
  if (operation.error) throw new Error(`${operation.name}: ${operation.error.message}`);
  return operation.response!.value;
}
async function road(): Promise<void> {
  const [documented, probed] = [await upload(documents), await upload(probes)];
  const wanted = ImportModelRequest.fromPartial({ parent, sourceUri: source, requestId: randomUUID() });
  const model = Model.decode(await wait(await call(trainer, trainer.importModel as Method<ImportModelRequest, Operation>, wanted)));
  const spec = { dataset: documented.name, probes: probed.name, model: model.name, methods: ["base", "icl"] };
  const asked = CreateStudyRequest.fromPartial({ parent, study: { spec }, requestId: randomUUID() });
  const study = Study.decode(await wait(await call(studies, studies.createStudy as Method<CreateStudyRequest, Operation>, asked)));
  const report = await call(studies, studies.getReport as Method<GetReportRequest, GetReportResponse>, GetReportRequest.fromPartial({ name: study.name }));
  console.log(`recommended: ${JSON.parse(report.content.toString()).recommendation.method}`);
  const question = GenerateRequest.fromPartial({ parent, model: `auto:${study.name.split("/").pop()}`, prompts: ["cemid are colder than"], maxTokens: 16 });
  const answer = await call(inference, inference.generate as Method<GenerateRequest, GenerateResponse>, question);
  console.log(`answer: ${answer.generations[0].text.trim()}`);
}
road().then(() => process.exit(0), (error) => { console.error(String(error.details ?? error.message)); process.exit(1); });
