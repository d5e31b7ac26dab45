package forge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// unavailable is [ErrUnavailable] with a reason in our own words.
func unavailable(reason string) error { return fmt.Errorf("%w (%s)", ErrUnavailable, reason) }

// unreachable turns what net/http failed with into [ErrUnavailable]. It wraps the context's error, so that a caller
// who gave up can tell; everything else is said in our own words, because errors of net/http can quote URLs, Location
// headers and the first bytes of what a server sent.
func unreachable(err error) error {
	var timeout interface{ Timeout() bool }
	var dns *net.DNSError
	var unknownAuthority x509.UnknownAuthorityError
	var otherHost x509.HostnameError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrNotSent):
		return ErrNotSent // without what net/http has wrapped around it
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrDestination):
		return err
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w (%w)", ErrUnavailable, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w (%w)", ErrUnavailable, context.DeadlineExceeded)
	case errors.As(err, &timeout) && timeout.Timeout():
		return unavailable("it did not answer in time")
	case errors.As(err, &unknownAuthority):
		return unavailable("its certificate comes from an unknown authority: set the connection's CA_FILE")
	case errors.As(err, &otherHost):
		return unavailable("its certificate is for another host name: check the connection's BASE_URL")
	case errors.As(err, &invalid):
		return unavailable("its certificate is not valid: check its dates and its use")
	case errors.As(err, &noTLS):
		return unavailable("it does not speak TLS there: check scheme and port of the connection's BASE_URL")
	case errors.As(err, &dns):
		return unavailable("its host name could not be resolved")
	case errors.As(err, &op) && op.Op == "dial":
		return unavailable("nothing answers at its address: " + dialReason(op.Err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return unavailable("the connection was cut")
	}
	return unavailable("it could not be reached, or what it sent is not HTTP")
}

// dialReason is the operating system's reason, which names no address and quotes nobody.
func dialReason(err error) string {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	return "dialling failed"
}
