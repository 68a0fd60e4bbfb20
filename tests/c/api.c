/*
 * The C API as a C program uses it. In: a configuration as the first argument. Out: one line for each check, exit code
 * 1 at the first that fails. The header is included twice on purpose.
 */

#define _GNU_SOURCE  /* memmem */

#include "apisix_mesh.h"
#include "apisix_mesh.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            apisix_mesh_buffer last = apisix_mesh_last_error();                                                       \
            fprintf(stderr, "line %d: %s (last error: %.*s)\n", __LINE__, #condition, (int) last.len, last.data);     \
            exit(1);                                                                                                  \
        }                                                                                                             \
        printf("ok: %s\n", #condition);                                                                               \
    } while (0)


static int  log_lines;


static void
count_line(void *data, apisix_mesh_log_level level, const char *text, size_t len)
{
    (void) level;
    (void) text;

    __atomic_add_fetch((int *) data, len > 0, __ATOMIC_SEQ_CST);
}


static int
last_error_names(const char *text)
{
    apisix_mesh_buffer  last = apisix_mesh_last_error();

    return last.len >= strlen(text) && memmem(last.data, last.len, text, strlen(text)) != NULL;
}


/* Waits for the first revision; half a minute is a failure, whatever the machine. */
static int64_t
first_revision(apisix_mesh *mesh)
{
    int              i;
    int64_t          revision;
    struct timespec  pause = { 0, 10 * 1000 * 1000 };

    for (i = 0; i < 3000; i++) {
        if (apisix_mesh_revision(mesh, &revision) != APISIX_MESH_RESULT_OK) {
            return -1;
        }

        if (revision > 0) {
            return revision;
        }

        nanosleep(&pause, NULL);
    }

    return 0;
}


static void
check_bad_input(void)
{
    apisix_mesh  *mesh = NULL;

    CHECK(apisix_mesh_config_check("{\"speed\": 1}", 12) == APISIX_MESH_RESULT_CONFIG);
    CHECK(last_error_names("setting speed: unknown"));
    CHECK(apisix_mesh_config_check(NULL, 5) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_config_check("\xff", 1) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_start("{", 1, &mesh) == APISIX_MESH_RESULT_CONFIG);
    CHECK(apisix_mesh_start("{}", 2, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(mesh == NULL);
    CHECK(apisix_mesh_running(&mesh) == APISIX_MESH_RESULT_NOT_RUNNING);
    CHECK(apisix_mesh_stop(NULL) == APISIX_MESH_RESULT_NOT_RUNNING);
    CHECK(apisix_mesh_list_len(NULL) == 0);

    apisix_mesh_list_free(NULL);
    apisix_mesh_buffer_free(NULL);
}


static void
check_objects(apisix_mesh *mesh)
{
    int64_t             revision, mod_revision;
    apisix_mesh_item    item;
    apisix_mesh_list   *list;
    apisix_mesh_buffer  value;

    CHECK((revision = first_revision(mesh)) > 0);
    CHECK(apisix_mesh_list_new(mesh, "/upstreams/", 11, &list) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_list_len(list) > 0);
    CHECK(apisix_mesh_list_revision(list) >= revision);
    CHECK(apisix_mesh_list_get(list, apisix_mesh_list_len(list), &item) == APISIX_MESH_RESULT_NOT_FOUND);
    CHECK(apisix_mesh_list_get(list, 0, &item) == APISIX_MESH_RESULT_OK);
    CHECK(item.key_len > 11 && memcmp(item.key, "/upstreams/", 11) == 0);
    CHECK(item.create_revision > 0 && item.mod_revision >= item.create_revision);

    CHECK(apisix_mesh_get(mesh, item.key, item.key_len, &value, &mod_revision) == APISIX_MESH_RESULT_OK);
    CHECK(value.len == item.value_len && memcmp(value.data, item.value, value.len) == 0);
    CHECK(mod_revision == item.mod_revision);
    CHECK(apisix_mesh_get(mesh, "/routes/none", 12, &value, &mod_revision) == APISIX_MESH_RESULT_NOT_FOUND);
    CHECK(value.len == item.value_len);  /* outputs are written only on success */

    apisix_mesh_buffer_free(&value);
    CHECK(value.data == NULL && value.len == 0);
    apisix_mesh_buffer_free(&value);
    apisix_mesh_list_free(list);

    CHECK(apisix_mesh_changes_new(mesh, 1, &list) == APISIX_MESH_RESULT_COMPACTED);
    CHECK(last_error_names("list everything anew"));
    CHECK(apisix_mesh_revision(mesh, &revision) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_changes_new(mesh, revision, &list) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_list_len(list) == 0);
    CHECK(apisix_mesh_list_revision(list) >= revision);
    apisix_mesh_list_free(list);

    CHECK(apisix_mesh_status(mesh, &value) == APISIX_MESH_RESULT_OK);
    CHECK(value.len > 0 && memmem(value.data, value.len, "\"ready\":true", 12) != NULL);
    apisix_mesh_buffer_free(&value);
}


/* A handle carried over a fork is an error in the child, at once, and not a hang. */
static void
check_fork(apisix_mesh *mesh)
{
    int      status;
    pid_t    pid;
    int64_t  revision;

    pid = fork();

    if (pid == 0) {
        alarm(10);
        _exit(apisix_mesh_revision(mesh, &revision) == APISIX_MESH_RESULT_FORKED
              && apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_FORKED ? 0 : 1);
    }

    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}


/*
 * Another process that follows the host, from before it is there.  It is forked before there are threads, as workers of
 * nginx are.
 */
static pid_t
start_follower(const char *config)
{
    pid_t         pid;
    apisix_mesh  *mesh;

    pid = fork();

    if (pid == 0) {
        alarm(60);
        CHECK(apisix_mesh_follow("{\"xds\": \"grpc://a:1\"}", 21, &mesh) == APISIX_MESH_RESULT_CONFIG);
        CHECK(last_error_names("setting state_dir: not set"));
        CHECK(apisix_mesh_follow(config, strlen(config), &mesh) == APISIX_MESH_RESULT_OK);
        check_objects(mesh);
        CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_OK);
        CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_NOT_RUNNING);
        fflush(stdout);
        _exit(0);
    }

    return pid;
}


int
main(int argc, char **argv)
{
    int           fd, status;
    pid_t         follower;
    sigset_t      before, after;
    const char   *config;
    apisix_mesh  *mesh, *same;

    config = argc > 1 ? argv[1] : "";

    CHECK(apisix_mesh_abi_version() == APISIX_MESH_ABI_VERSION);
    CHECK(strlen(apisix_mesh_version()) > 0);

    apisix_mesh_set_log(count_line, &log_lines);
    check_bad_input();

    CHECK(apisix_mesh_config_check(config, strlen(config)) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_listen(config, strlen(config), &fd) == APISIX_MESH_RESULT_OK);
    CHECK(close(fd) == 0);

    CHECK((follower = start_follower(config)) > 0);

    /* The kernel fills a part of a set; the rest is compared too. */
    memset(&before, 0, sizeof(before));
    memset(&after, 0, sizeof(after));

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    CHECK(apisix_mesh_start(config, strlen(config), &mesh) == APISIX_MESH_RESULT_OK);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    CHECK(memcmp(&before, &after, sizeof(sigset_t)) == 0);
    CHECK(apisix_mesh_start(config, strlen(config), &same) == APISIX_MESH_RESULT_ALREADY_RUNNING);
    CHECK(apisix_mesh_running(&same) == APISIX_MESH_RESULT_OK && same == mesh);

    check_objects(mesh);
    check_fork(mesh);
    CHECK(waitpid(follower, &status, 0) == follower);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_NOT_RUNNING);
    CHECK(__atomic_load_n(&log_lines, __ATOMIC_SEQ_CST) > 0);

    CHECK(apisix_mesh_start(config, strlen(config), &mesh) == APISIX_MESH_RESULT_OK);
    CHECK(first_revision(mesh) > 0);
    CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_OK);
    apisix_mesh_set_log(NULL, NULL);

    return 0;
}
