// Command policy asks Tessera, which is one of those that write logs, whether a signed checkpoint is cosigned by
// as many as a trust policy wants, and where it would ask them.
//
//	policy POLICY-FILE CHECKPOINT-FILE
//
// It prints the address of each witness, and exits with 1 and the reason when the policy is not met.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/transparency-dev/tessera"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: policy POLICY-FILE CHECKPOINT-FILE")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(policyFile, checkpointFile string) error {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(checkpointFile)
	if err != nil {
		return err
	}
	quorum, err := tessera.NewWitnessGroupFromPolicy(text)
	if err != nil {
		return err
	}
	for address := range quorum.Endpoints() {
		fmt.Println(address)
	}
	if !quorum.Satisfied(signed) {
		return errors.New("the checkpoint is not cosigned by as many as the policy wants")
	}
	return nil
}
