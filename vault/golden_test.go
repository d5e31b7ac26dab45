package vault

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/nacl/secretbox"

	"github.com/forgeauth/forgeauth/secret"
)

func unhex(tb testing.TB, digits string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(digits)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestBoxesAreThoseOfLibsodium uses the known answer of NaCl's and libsodium's own tests (test/default/secretbox.c).
func TestBoxesAreThoseOfLibsodium(t *testing.T) {
	t.Parallel()
	key := secret.New(string(unhex(t, "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")))
	nonce := unhex(t, "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
	message := unhex(t, "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129"+
		"6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd"+
		"4924ca1c60902e52f0a089bc76897040e082f937763848645e0705")
	answer := unhex(t, "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a"+
		"c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfea"+
		"bd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5")

	box, err := sealBox(bytes.NewReader(nonce), key, message)
	if err != nil {
		t.Fatal(err)
	}
	if want := append(bytes.Clone(nonce), answer...); !bytes.Equal(box, want) {
		t.Errorf("box\n got %x\nwant %x", box, want)
	}
	opened, err := openBox(nil, key, append(bytes.Clone(nonce), answer...))
	if err != nil || !bytes.Equal(opened, message) {
		t.Errorf("opened %x, %v", opened, err)
	}
}

// TestStoredFormatsStayReadable pins every derived key and layout: what was sealed once must open forever.
func TestStoredFormatsStayReadable(t *testing.T) {
	t.Parallel()
	master, err := ParseKey(secret.New("pX3vQ0bT9cLw7sZk1YhN5uEaRj8mGfD2oViK6tBxHq4=\n"))
	if err != nil {
		t.Fatal(err)
	}
	material := strings.Repeat("k", 32)
	v := New(master, strings.NewReader(material+strings.Repeat("1", 24)+strings.Repeat("2", 24)+strings.Repeat("3", 24)))
	id := uuid.MustParse("01920000-0000-7000-8000-000000000001")
	key, wrapped, err := v.NewDataKey(id)
	if err != nil {
		t.Fatal(err)
	}
	c := Context{Connection: "github", Origin: "https://github.com", AccountID: "583231", Field: FieldAccessToken, KeyID: id}
	box, err := key.Seal(c, secret.New("gho_example"))
	if err != nil {
		t.Fatal(err)
	}
	expires := time.UnixMilli(1_795_453_200_000)
	cookie, err := v.SealCookie("attempt", []byte("content"), expires)
	if err != nil {
		t.Fatal(err)
	}
	session := v.SessionHash([]byte("session"))

	for name, golden := range map[string]struct{ got, want string }{
		"wrapped data key": {hex.EncodeToString(wrapped.Wrapped), goldenWrapped},
		"token":            {hex.EncodeToString(box), goldenToken},
		"cookie":           {cookie, goldenCookie},
		"session hash":     {hex.EncodeToString(session[:]), goldenSession},
		"code hash":        {hex.EncodeToString(v.HashCode("code")), goldenCode},
		"fingerprint":      {hex.EncodeToString(v.Fingerprint(secret.New("token"))), goldenFingerprint},
		"token context": {
			string(c.appendTo(nil)),
			"\x01\x06github\x12https://github.com\x06583231\x0caccess_token" + string(id[:]),
		},
		"canary context": {string(canaryContext()), "\x01\x06canary"},
	} {
		if golden.got != golden.want {
			t.Errorf("%s changed:\n got %q\nwant %q", name, golden.got, golden.want)
		}
	}

	reader := New(master, nil) // a process of later: it has only what is stored
	stored, err := reader.Unwrap(WrappedKey{ID: id, Wrapped: unhex(t, goldenWrapped)})
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := stored.Open(c, unhex(t, goldenToken)); err != nil || opened.Reveal() != "gho_example" {
		t.Errorf("the golden token does not open: %v", err)
	}
	if opened, err := reader.OpenCookie("attempt", goldenCookie, expires.Add(-1)); err != nil || string(opened) != "content" {
		t.Errorf("the golden cookie does not open: %v", err)
	}

	var k [32]byte
	copy(k[:], material)
	nonce := [24]byte(box[:24])
	plaintext, ok := secretbox.Open(nil, box[24:], &nonce, &k)
	if !ok || string(plaintext) != string(c.appendTo(nil))+"gho_example" {
		t.Errorf("a plain secretbox opens %q, %t", plaintext, ok)
	}
}

const (
	goldenWrapped     = "3131313131313131313131313131313131313131313131312daef437e4d4529ba38becfbe274dd8a1dfc4b2384ce2f477beb5dd28af3cad1111a91759f6db910d2e1cd243209cc322b40efd716ec5403dfd3b00aeb4c3938e01478fa130c52b005be"
	goldenToken       = "32323232323232323232323232323232323232323232323275b28a0a2d5117e4d79e6f0c957dcde717020f976b185dde9ee5c80e88c7c809eea6316418adae58c4ad6a23fa38672d0b10616e2f97b6fa52576e4bdca31d50bf9f1615f06da34838e3235bcaf31b69f685551800ffbe98a4b2"
	goldenCookie      = "MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzklOfc1x9RqaDkuTBtWrBfuUTuSslMOnLaR022OOeW4HwNkh9Pvsj7A"
	goldenSession     = "cc846222b74d2bc7854d150ff6915333249c4d96a0743b4b9f972595f1a3080d"
	goldenCode        = "90d957d87c64ba76bc9c61866af23075044f9ff1a10abb20bd10aa591cb0a1f0"
	goldenFingerprint = "303754f15a93384dbe39f3c3884229965931cd2137d26f308f54ca4601e191e7"
)
