package supervisor

// RetryBudget holds the retries of calls to a share of the traffic, so that a
// group in trouble is not pushed further down by its own retries. The zero
// value allows nothing; NewRetryBudget makes a full one.
type RetryBudget struct{ credit int }

const (
	// retryCost is what one retry takes and each call gives one of: retries
	// are at most one fifth of the calls.
	retryCost = 5
	// retryReserve is how many retries are there before any traffic, so that
	// a group that is rarely called can fail over too.
	retryReserve = 10
	// retryMost bounds what a calm time saves up.
	retryMost = 100
)

// NewRetryBudget returns a budget that holds the reserve.
func NewRetryBudget() RetryBudget { return RetryBudget{retryReserve * retryCost} }

// Called notes one call.
func (b *RetryBudget) Called() {
	if b.credit < retryMost*retryCost {
		b.credit++
	}
}

// Take takes one retry; false when the budget is used up.
func (b *RetryBudget) Take() bool {
	if b.credit < retryCost {
		return false
	}
	b.credit -= retryCost
	return true
}

// Return gives back a retry that was taken and not made.
func (b *RetryBudget) Return() { b.credit += retryCost }
