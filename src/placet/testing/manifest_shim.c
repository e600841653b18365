/*
 * Preloaded into OpenSSH's ssh-sk-helper: libfido2 then finds exactly one device, the pseudo
 * terminal named in PLACET_TESTING_FIDO_DEVICE, behind which a software authenticator answers.
 * Test only; see placet.testing.openssh.
 */
#include <fcntl.h>
#include <fido.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* O_NOCTTY: the pseudo terminal must not become the controlling terminal and swallow prompts. */
static void *device_open(const char *path)
{
	int *handle = malloc(sizeof *handle);

	if (handle == NULL)
		return NULL;
	*handle = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*handle < 0) {
		free(handle);
		return NULL;
	}
	return handle;
}

static void device_close(void *handle)
{
	close(*(int *)handle);
	free(handle);
}

/* A terminal may return a packet in pieces, where hidraw returns it whole. */
static int device_read(void *handle, unsigned char *buffer, size_t length, int timeout_ms)
{
	struct pollfd waiting = {*(int *)handle, POLLIN, 0};
	size_t have = 0;

	while (have < length) {
		ssize_t count;

		if (poll(&waiting, 1, timeout_ms) < 1)
			return -1;
		count = read(waiting.fd, buffer + have, length - have);
		if (count <= 0)
			return -1;
		have += (size_t)count;
	}
	return (int)have;
}

static int device_write(void *handle, const unsigned char *buffer, size_t length)
{
	return (int)write(*(int *)handle, buffer, length);
}

/* Takes the place of libfido2's own enumeration. */
int fido_dev_info_manifest(fido_dev_info_t *list, size_t capacity, size_t *found)
{
	static const fido_dev_io_t io = {device_open, device_close, device_read, device_write};
	const char *path = getenv("PLACET_TESTING_FIDO_DEVICE");
	int error;

	*found = 0;
	if (path == NULL || capacity == 0)
		return FIDO_OK;
	error = fido_dev_info_set(list, 0, path, "placet", "software", &io, NULL);
	if (error == FIDO_OK)
		*found = 1;
	return error;
}
