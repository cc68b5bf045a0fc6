// The whole road with stubs from the protos bundle: upload, study, report, ask. See ../README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	pb "github.com/ingrain-platform/ingrain/gen/go/ingrain/v1"
	"google.golang.org/genproto/googleapis/longrunning"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const parent = "projects/default"

func main() {
	channel := must(grpc.Dial(os.Args[1], grpc.WithInsecure())) // with TLS: grpc.WithTransportCredentials(...)
	ctx := context.Background()
	if key := os.Getenv("INGRAIN_API_KEY"); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	documents := upload(ctx, channel, `{"id": "d", "text": "bralo are warmer than cemid."}`)
	probes := upload(ctx, channel, `{"id": "p", "kind": "reversal", "prompt": "cemid are", "choices": ["colder than bralo.", "warmer than bralo."], "answer": "colder than bralo."}`)
	model := wait(ctx, channel, must(pb.NewTrainerClient(channel).ImportModel(ctx, &pb.ImportModelRequest{Parent: parent, SourceUri: os.Args[2]}))).(*pb.Model)
	spec := &pb.StudySpec{Dataset: documents.Name, Probes: probes.Name, Model: model.Name, Methods: []string{"base", "icl"}}
	studies := pb.NewStudiesClient(channel) // with a request_id, any UUID, a create may be sent again after any failure
	study := wait(ctx, channel, must(studies.CreateStudy(ctx, &pb.CreateStudyRequest{Parent: parent, Study: &pb.Study{Spec: spec}}))).(*pb.Study)
	report := must(studies.GetReport(ctx, &pb.GetReportRequest{Name: study.Name, Format: pb.GetReportRequest_MARKDOWN}))
	fmt.Printf("recommended: %s\nreport: %d bytes\n", study.Recommendation.Method, len(report.Content))
	named := "auto:" + study.Name[strings.LastIndex(study.Name, "/")+1:]
	question := &pb.GenerateRequest{Parent: parent, Model: named, Prompts: []string{"cemid are colder than"}, MaxTokens: 16}
	fmt.Println("answer:", must(pb.NewInferenceClient(channel).Generate(ctx, question)).Generations[0].Text)
}

func upload(ctx context.Context, channel *grpc.ClientConn, rows string) *pb.Dataset { // a header, then chunks of at most 1 MiB
	stream := must(pb.NewDatasetsClient(channel).UploadDataset(ctx))
	must(0, stream.Send(&pb.UploadDatasetRequest{Payload: &pb.UploadDatasetRequest_Header{Header: &pb.UploadDatasetHeader{Parent: parent}}}))
	must(0, stream.Send(&pb.UploadDatasetRequest{Payload: &pb.UploadDatasetRequest_Chunk{Chunk: []byte(rows)}}))
	return must(stream.CloseAndRecv())
}
func wait(ctx context.Context, channel *grpc.ClientConn, operation *longrunning.Operation) proto.Message {
	for operations := longrunning.NewOperationsClient(channel); !operation.Done; { // in pieces, so that no proxy cuts a long call
		operation = must(operations.WaitOperation(ctx, &longrunning.WaitOperationRequest{Name: operation.Name, Timeout: durationpb.New(10 * time.Second)}))
	}
	if failed := operation.GetError(); failed != nil {
		must(0, fmt.Errorf("%s: %s", operation.Name, failed.Message))
	}
	return must(operation.GetResponse().UnmarshalNew())
}
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
