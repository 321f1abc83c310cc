// The AWS Load Balancer Controller's own verdict on annotations: tests/kubernetes/test_judged.py says how to run it.
package ingress

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/go-logr/logr"
	"github.com/golang/mock/gomock"
	corev1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	testclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sigs.k8s.io/aws-load-balancer-controller/v3/pkg/annotations"
	"sigs.k8s.io/aws-load-balancer-controller/v3/pkg/aws/services"
	"sigs.k8s.io/aws-load-balancer-controller/v3/pkg/certs"
	"sigs.k8s.io/aws-load-balancer-controller/v3/pkg/config"
	"sigs.k8s.io/aws-load-balancer-controller/v3/pkg/deploy/elbv2"
	"sigs.k8s.io/aws-load-balancer-controller/v3/pkg/deploy/tracking"
	lbcmetrics "sigs.k8s.io/aws-load-balancer-controller/v3/pkg/metrics/lbc"
	elbv2model "sigs.k8s.io/aws-load-balancer-controller/v3/pkg/model/elbv2"
	networkingpkg "sigs.k8s.io/aws-load-balancer-controller/v3/pkg/networking"
)

const judgedPrefix = "alb.ingress.kubernetes.io"

// Test_judge reads a list of cases from JUDGE_CASES, each the annotations (without prefix) of the Ingresses of one group,
// and writes the error of each, or an empty text, to JUDGE_VERDICTS.
func Test_judge(t *testing.T) {
	text, err := os.ReadFile(os.Getenv("JUDGE_CASES"))
	if err != nil {
		t.Skip("no cases")
	}
	var cases [][]map[string]string
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	verdicts := make([]string, 0, len(cases))
	for _, group := range cases {
		verdicts = append(verdicts, verdict(t, group))
	}
	written, _ := json.MarshalIndent(verdicts, "", " ")
	if err := os.WriteFile(os.Getenv("JUDGE_VERDICTS"), append(written, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func verdict(t *testing.T, group []map[string]string) string {
	ctrl := gomock.NewController(t)
	defer ctrl.Finish()
	ctx := context.Background()
	scheme := runtime.NewScheme()
	_ = clientgoscheme.AddToScheme(scheme)
	k8sClient := testclient.NewClientBuilder().WithScheme(scheme).Build()
	_ = k8sClient.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "svc"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
			{Name: "rpc", Port: 8545, TargetPort: intstr.FromString("rpc")},
		}},
	})
	subnets := []ec2types.Subnet{
		{SubnetId: awssdk.String("subnet-a"), CidrBlock: awssdk.String("10.0.0.0/24")},
		{SubnetId: awssdk.String("subnet-b"), CidrBlock: awssdk.String("10.0.1.0/24")},
	}
	subnetsResolver := networkingpkg.NewMockSubnetsResolver(ctrl)
	subnetsResolver.EXPECT().ResolveViaDiscovery(gomock.Any(), gomock.Any()).Return(subnets, nil).AnyTimes()
	subnetsResolver.EXPECT().ResolveViaNameOrIDSlice(gomock.Any(), gomock.Any(), gomock.Any()).Return(subnets, nil).AnyTimes()
	taggingManager := elbv2.NewMockTaggingManager(ctrl)
	taggingManager.EXPECT().ListLoadBalancers(gomock.Any(), gomock.Any()).Return(nil, nil).AnyTimes()
	certDiscovery := certs.NewMockCertDiscovery(ctrl)
	certDiscovery.EXPECT().Discover(gomock.Any(), gomock.Any(), gomock.Any()).Return([]string{"arn:aws:acm:us-east-1:1:certificate/a"}, nil).AnyTimes()
	ec2Client := services.NewMockEC2(ctrl)
	ec2Client.EXPECT().DescribeSecurityGroupsAsList(gomock.Any(), gomock.Any()).Return([]ec2types.SecurityGroup{
		{GroupId: awssdk.String("sg-1")}, {GroupId: awssdk.String("sg-2")},
	}, nil).AnyTimes()
	backendSG := networkingpkg.NewMockBackendSGProvider(ctrl)
	backendSG.EXPECT().Get(gomock.Any(), gomock.Any(), gomock.Any()).Return("sg-auto", nil).AnyTimes()
	parser := annotations.NewSuffixAnnotationParser(judgedPrefix)
	auth := NewDefaultAuthConfigBuilder(parser)
	b := &defaultModelBuilder{
		k8sClient:                 k8sClient,
		eventRecorder:             record.NewFakeRecorder(10),
		ec2Client:                 ec2Client,
		elbv2Client:               services.NewMockELBV2(ctrl),
		vpcID:                     "vpc",
		clusterName:               "cluster",
		annotationParser:          parser,
		subnetsResolver:           subnetsResolver,
		sgResolver:                networkingpkg.NewDefaultSecurityGroupResolver(ec2Client, "vpc"),
		backendSGProvider:         backendSG,
		certDiscovery:             certDiscovery,
		authConfigBuilder:         auth,
		enhancedBackendBuilder:    NewDefaultEnhancedBackendBuilder(k8sClient, parser, auth, true, true),
		ruleOptimizer:             NewDefaultRuleOptimizer(logr.New(&log.NullLogSink{})),
		trackingProvider:          tracking.NewDefaultProvider("ingress.k8s.aws", "cluster"),
		elbv2TaggingManager:       taggingManager,
		enableBackendSG:           true,
		featureGates:              config.NewFeatureGates(),
		logger:                    logr.New(&log.NullLogSink{}),
		defaultSSLPolicy:          "ELBSecurityPolicy-2016-08",
		defaultTargetType:         elbv2model.TargetTypeIP,
		defaultLoadBalancerScheme: elbv2model.LoadBalancerSchemeInternal,
		metricsCollector:          lbcmetrics.NewMockCollector(),
		enableIPTargetType:        true,
	}
	var members []ClassifiedIngress
	for index, notes := range group {
		all := map[string]string{}
		for name, value := range notes {
			all[judgedPrefix+"/"+name] = value
		}
		if name, ok := notes["group.name"]; ok {
			if err := validateGroupName(name); err != nil {
				return err.Error()
			}
		}
		members = append(members, ClassifiedIngress{Ing: &networking.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprintf("ing-%d", index), Annotations: all},
			Spec: networking.IngressSpec{Rules: []networking.IngressRule{{
				Host: fmt.Sprintf("%d.example.com", index),
				IngressRuleValue: networking.IngressRuleValue{HTTP: &networking.HTTPIngressRuleValue{
					Paths: []networking.HTTPIngressPath{{
						Path: "/",
						Backend: networking.IngressBackend{Service: &networking.IngressServiceBackend{
							Name: "svc", Port: networking.ServiceBackendPort{Name: "rpc"},
						}},
					}},
				}},
			}}},
		}})
	}
	loader := &defaultGroupLoader{annotationParser: parser}
	sorted, err := loader.sortGroupMembers(members)
	if err != nil {
		return err.Error()
	}
	_, _, _, _, _, _, err = b.Build(ctx, Group{ID: GroupID{Name: "group"}, Members: sorted}, b.metricsCollector)
	if err != nil {
		return err.Error()
	}
	return ""
}
