package main

// memorySample is the memory of a process after so many reloads, in bytes.
type memorySample struct {
	reloads int
	bytes   int64
}

// growth is what a reload adds to the memory for good, in bytes: from the lowest sample of the first half to the lowest of
// the second. A line through all of them would tell of the store's table in memory, which takes up to 16 MiB of the log
// before it goes to the disk and memory comes down again.
func growth(samples []memorySample) float64 {
	if len(samples) < 2 {
		return 0
	}
	half := len(samples) / 2
	first, second := lowest(samples[:half]), lowest(samples[half:])
	return float64(second.bytes-first.bytes) / float64(second.reloads-first.reloads)
}

func lowest(samples []memorySample) memorySample {
	least := samples[0]
	for _, s := range samples {
		if s.bytes < least.bytes {
			least = s
		}
	}
	return least
}
