package rawio

// Receiver takes what a source reads. Its methods are called one after the
// other, from the goroutine of a poller, and must not block: the poller reads
// for many.
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
