package rawio

// Receiver takes what a source reads. Its methods are called one after the
// other, under the source's lock: from the goroutine of a poller, from EndIn and its timer,
// from that of Pace, Ended also from Close. They must not block, for the poller reads for many;
// what takes long should be told by Source.Apart.
type Receiver interface {
	// Space returns where the next bytes go, never nothing. Received always
	// follows it.
	Space() []byte
	// Received is told that n bytes were put there, 0 if none came after all;
	// false wants no more.
	Received(n int) (goOn bool)
	// Ended is called once, last: nothing more comes.
	Ended()
}
