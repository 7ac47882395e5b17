#include "hyperd/image/digest.h"

#include <string.h>
#include <openssl/evp.h>

#include "base/fd.h"
#include "base/str.h"

#define ALGORITHM "sha256:"

struct digest_stream {
	EVP_MD_CTX *context; /* owned */
};

int digest_stream_new(struct digest_stream **ret, struct error *err)
{
	struct digest_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return error_nomem(err);
	stream->context = EVP_MD_CTX_new();
	if (!stream->context || EVP_DigestInit_ex(stream->context, EVP_sha256(), NULL) != 1) {
		digest_stream_free(stream);
		return error_set(err, ERROR_FAILED, "SHA-256 is not available");
	}
	*ret = stream;
	return 0;
}

void digest_stream_free(struct digest_stream *stream)
{
	if (!stream)
		return;
	EVP_MD_CTX_free(stream->context);
	free(stream);
}

int digest_stream_update(struct digest_stream *stream, const void *data, size_t len,
			 struct error *err)
{
	if (EVP_DigestUpdate(stream->context, data, len) != 1)
		return error_set(err, ERROR_FAILED, "computing a SHA-256 digest failed");
	return 0;
}

int digest_stream_final(struct digest_stream *stream, char text[DIGEST_TEXT_BYTES],
			struct error *err)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	char *p = text + strlen(ALGORITHM);

	if (EVP_DigestFinal_ex(stream->context, raw, &len) != 1 || len * 2 != DIGEST_HEX_BYTES)
		return error_set(err, ERROR_FAILED, "computing a SHA-256 digest failed");
	memcpy(text, ALGORITHM, strlen(ALGORITHM));
	for (unsigned i = 0; i < len; i++) {
		*p++ = "0123456789abcdef"[raw[i] >> 4];
		*p++ = "0123456789abcdef"[raw[i] & 15];
	}
	*p = '\0';
	return 0;
}

int digest_data(const void *data, size_t len, char text[DIGEST_TEXT_BYTES], struct error *err)
{
	autoptr(digest_stream_free) struct digest_stream *stream = NULL;
	int r = digest_stream_new(&stream, err);

	if (r == 0)
		r = digest_stream_update(stream, data, len, err);
	if (r == 0)
		r = digest_stream_final(stream, text, err);
	return r;
}

int digest_fd(int fd, char text[DIGEST_TEXT_BYTES], uint64_t *ret_bytes, struct error *err)
{
	autoptr(digest_stream_free) struct digest_stream *stream = NULL;
	autofree char *buf = malloc(1 << 17);
	uint64_t bytes = 0;
	int r = digest_stream_new(&stream, err);

	if (!buf)
		return error_nomem(err);
	while (r == 0) {
		ssize_t n = fd_read(fd, buf, 1 << 17);

		if (n < 0)
			return error_errno(err, (int)-n, "reading");
		if (n == 0)
			break;
		bytes += (uint64_t)n;
		r = digest_stream_update(stream, buf, (size_t)n, err);
	}
	if (ret_bytes)
		*ret_bytes = bytes;
	return r == 0 ? digest_stream_final(stream, text, err) : r;
}

bool digest_is_valid(const char *text)
{
	const char *hex;

	if (!text || !str_starts(text, ALGORITHM))
		return false;
	hex = digest_hex(text);
	return strspn(hex, "0123456789abcdef") == DIGEST_HEX_BYTES && hex[DIGEST_HEX_BYTES] == '\0';
}

int digest_check(const char *what, const char *text, struct error *err)
{
	if (!digest_is_valid(text))
		return error_set(err, ERROR_INVALID,
				 "%s '%.100s': expected sha256: and 64 hex digits in lower case",
				 what, text ? text : "");
	return 0;
}

const char *digest_hex(const char *text)
{
	return text + strlen(ALGORITHM);
}
