package main

import (
	"encoding/json"
	"strings"
	"testing"
)

const dualStack = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.3.1/24
FLANNEL_IPV6_NETWORK=fd00:10::/56
FLANNEL_IPV6_SUBNET=fd00:10:0:3::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`

func delegatedJSON(t *testing.T, config, subnetFile string) string {
	t.Helper()
	parsed, err := parseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	node, err := parseSubnet(subnetFile)
	if err != nil {
		t.Fatal(err)
	}
	delegated, err := parsed.delegated(node)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(delegated)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBridgeIsDerivedFromTheSubnetFile(t *testing.T) {
	got := delegatedJSON(t, `{"cniVersion":"1.0.0","name":"cbr0","type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}}`, dualStack)
	want := `{"cniVersion":"1.0.0","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.3.0/24"}],[{"subnet":"fd00:10:0:3::/64"}]],` +
		`"routes":[{"dst":"10.244.0.0/16"},{"dst":"fd00:10::/56"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheAdministratorsKeysWin(t *testing.T) {
	got := delegatedJSON(t, `{"name":"n","type":"flannel","delegate":{"mtu":1300,"ipMasq":true},"ipam":{"dataDir":"/x","routes":[{"dst":"192.0.2.0/24"}]}}`, dualStack)
	for _, part := range []string{`"mtu":1300`, `"ipMasq":true`, `"dataDir":"/x"`, `"routes":[{"dst":"192.0.2.0/24"},{"dst":"10.244.0.0/16"}`} {
		if !strings.Contains(got, part) {
			t.Errorf("%s lacks %s", got, part)
		}
	}
}

func TestADelegateMustNotDecideForFlannel(t *testing.T) {
	parsed, err := parseConfig([]byte(`{"name":"n","delegate":{"name":"x","ipam":{},"type":7}}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parsed.delegated(&subnet{})
	for _, part := range []string{`"name"`, `"ipam"`, `"type"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
}

func TestABrokenSubnetFileNamesEachFault(t *testing.T) {
	_, err := parseSubnet("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1\nFLANNEL_MTU=big\n")
	for _, part := range []string{"FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
	if _, err := parseSubnet("FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"); err == nil {
		t.Error("a file without a subnet was taken")
	}
}
