/* Adds a fixed delay after each fsync and fdatasync, to see a store on a slower disk.
 *
 *   cc -shared -fPIC -O2 -o slowsync.so slowsync.c -ldl
 *   SLOWSYNC_MICROSECONDS=2000 LD_PRELOAD=./slowsync.so program
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_as_told(void)
{
    const char *text = getenv("SLOWSYNC_MICROSECONDS");
    long microseconds = text ? strtol(text, NULL, 10) : 0;
    struct timespec rest = {microseconds / 1000000, (microseconds % 1000000) * 1000};
    if (microseconds > 0)
        nanosleep(&rest, NULL);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    wait_as_told();
    return result;
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    wait_as_told();
    return result;
}
