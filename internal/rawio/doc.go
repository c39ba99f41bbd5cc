// Package rawio reads and writes descriptors that do not block: the pipes of
// servers and the connections of clients.
//
// The standard library tells the scheduler of each system call, so that another
// thread can take over should it block. These cannot block, but many last longer
// than the 20 microseconds after which the scheduler loses patience: it then wakes
// a thread for which there is no core, and its monitor never rests. With 64 bytes
// a call that was a tenth of the runtime's CPU.
//
// Read and Write never wait; a Stream does, and a Poller for many at once.
package rawio

// MaxIO bounds what one call moves, and so how long the collector may have to
// wait for it: some 100 microseconds. What is longer is moved in part.
const MaxIO = 256 << 10
