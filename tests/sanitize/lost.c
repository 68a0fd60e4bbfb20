/* Preloaded into a process, it loses memory on purpose: the leak check of that process must tell of it. */

#include <stdlib.h>


void *volatile  lost;


__attribute__((constructor)) static void
lose(void)
{
    lost = malloc(4242);
    lost = NULL;
}
