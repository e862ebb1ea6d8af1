/* Makes the system's random numbers the same in each run. The order of std's HashMap and the first branch that tokio's select! polls come
   from them. The program is started with this library in LD_PRELOAD, so that each run gets the same numbers. A simulation
   has no real secrets. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* SplitMix64 */
static uint64_t state = 1;

static unsigned char next(void) {
    uint64_t mixed = __atomic_add_fetch(&state, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return (unsigned char)(mixed ^ (mixed >> 31));
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    unsigned char *bytes = buffer;
    (void)flags;
    for (size_t index = 0; index < length; index++) bytes[index] = next();
    return (ssize_t)length;
}

int getentropy(void *buffer, size_t length) {
    return getrandom(buffer, length, 0) < 0;
}
