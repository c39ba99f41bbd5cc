// Package e2e tests the hangar program as its users meet it: the built binary
// with real children, real clients and real signals, over its own interfaces
// only. The tests are all there is.
//
// The binary is built once, or taken from HANGAR_BIN (an absolute path).
// HANGAR_BUILD_FLAGS goes to go build, for example -race.
//
// Some tests need parts that `make parts` fetches: Node (e2e/node) and Python
// (e2e/python). Without them they skip and say why; a part that
// HANGAR_REQUIRE names (HANGAR_REQUIRE=node,python,curl) must not be missing.
//
// HANGAR_CHURN=full makes the churn test its whole 10,000 starts, streams and
// WebSockets and 100,000 calls; without it a twentieth.
//
//	harness_test.go    the program: build, start, stop, nothing left behind
//	process_test.go    processes as the kernel tells of them
//	vitals_test.go     what must not grow, servers in detail
//	client_test.go     REST and MCP by plain requests
//	parts_test.go      what must be installed
//	*_test.go          the tests, a file for each theme
package e2e
