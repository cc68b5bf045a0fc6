// The whole road with stubs from the protos bundle and grpc-java: upload, study, report, ask. See ../README.md.
import static java.util.concurrent.TimeUnit.SECONDS;

import com.google.longrunning.*;
import com.google.protobuf.*;
import io.grpc.*;
import io.grpc.stub.*;
import io.ingrain.v1.*;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;

public class Road {
  static final String PARENT = "projects/default";
  static final String DOCUMENTS = "{\"id\": \"d\", \"text\": \"bralo are warmer than cemid.\"}\n";
  static final String PROBES = "{\"id\": \"p\", \"kind\": \"reversal\", \"prompt\": \"cemid are\", \"choices\": [\"colder than bralo.\", \"warmer than bralo.\"], \"answer\": \"colder than bralo.\"}\n";
  static Channel channel;

  public static void main(String[] arguments) throws Exception {
    ManagedChannel opened = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build(); // with TLS: leave usePlaintext out
    Metadata headers = new Metadata();
    String key = System.getenv("INGRAIN_API_KEY");
    if (key != null) headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + key);
    channel = ClientInterceptors.intercept(opened, MetadataUtils.newAttachHeadersInterceptor(headers));
    Dataset documents = upload(DOCUMENTS), probes = upload(PROBES);
    ImportModelRequest wanted = ImportModelRequest.newBuilder().setParent(PARENT).setSourceUri(arguments[1]).setRequestId(id()).build();
    Model model = await(TrainerGrpc.newBlockingStub(channel).importModel(wanted)).unpack(Model.class);
    StudiesGrpc.StudiesBlockingStub studies = StudiesGrpc.newBlockingStub(channel).withDeadlineAfter(3600, SECONDS);
    StudySpec spec = StudySpec.newBuilder().setDataset(documents.getName()).setProbes(probes.getName()).setModel(model.getName()).addMethods("base").addMethods("icl").build();
    CreateStudyRequest asked = CreateStudyRequest.newBuilder().setParent(PARENT).setStudy(Study.newBuilder().setSpec(spec)).setRequestId(id()).build();
    Study study = await(studies.createStudy(asked)).unpack(Study.class);
    System.out.println("recommended: " + study.getRecommendation().getMethod());
    GetReportRequest report = GetReportRequest.newBuilder().setName(study.getName()).setFormat(GetReportRequest.Format.MARKDOWN).build();
    System.out.println("report: " + studies.getReport(report).getContent().toStringUtf8().split("\n")[0]);
    GenerateRequest question = GenerateRequest.newBuilder().setParent(PARENT).setModel("auto:" + study.getName().replaceAll(".*/", "")).addPrompts("cemid are colder than").setMaxTokens(16).build();
    System.out.println("answer: " + InferenceGrpc.newBlockingStub(channel).generate(question).getGenerations(0).getText().strip());
    opened.shutdown().awaitTermination(5, SECONDS);
  }

  static Dataset upload(String rows) throws Exception { // a header, then the bytes in chunks of at most 1 MiB
    CompletableFuture<Dataset> made = new CompletableFuture<>();
    StreamObserver<UploadDatasetRequest> up = DatasetsGrpc.newStub(channel).uploadDataset(new StreamObserver<Dataset>() {
      public void onNext(Dataset dataset) { made.complete(dataset); }
      public void onError(Throwable error) { made.completeExceptionally(error); }
      public void onCompleted() {}
    });
    up.onNext(UploadDatasetRequest.newBuilder().setHeader(UploadDatasetHeader.newBuilder().setParent(PARENT).setRequestId(id())).build());
    up.onNext(UploadDatasetRequest.newBuilder().setChunk(ByteString.copyFromUtf8(rows)).build());
    up.onCompleted();
    return made.get(60, SECONDS);
  }
  static Any await(Operation operation) { // in pieces, so that no proxy cuts a long call
    while (!operation.getDone()) {
      WaitOperationRequest request = WaitOperationRequest.newBuilder().setName(operation.getName()).setTimeout(Duration.newBuilder().setSeconds(10)).build();
      operation = OperationsGrpc.newBlockingStub(channel).withDeadlineAfter(20, SECONDS).waitOperation(request);
    }
    if (operation.hasError()) throw new IllegalStateException(operation.getName() + ": " + operation.getError().getMessage());
    return operation.getResponse();
  }
  static String id() { return UUID.randomUUID().toString(); }
}
