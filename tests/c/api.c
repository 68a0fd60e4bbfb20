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


/* Waits for the first revision; two minutes are a failure, whatever the machine and the tool that watches. */
static int64_t
first_revision(apisix_mesh *mesh)
{
    int              i;
    int64_t          revision;
    struct timespec  pause = { 0, 10 * 1000 * 1000 };

    for (i = 0; i < 12000; i++) {
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


/* Every call that takes a handle refuses this one in the same way, and writes nothing. */
static void
check_refused(apisix_mesh *mesh, apisix_mesh_result result)
{
    int64_t             revision = -1;
    apisix_mesh_list   *list = NULL;
    apisix_mesh_buffer  value = { NULL, 0 };

    CHECK(apisix_mesh_revision(mesh, &revision) == result);
    CHECK(apisix_mesh_get(mesh, "/routes/x", 9, &value, &revision) == result);
    CHECK(apisix_mesh_list_new(mesh, "/", 1, &list) == result);
    CHECK(apisix_mesh_changes_new(mesh, 1, &list) == result);
    CHECK(apisix_mesh_wait(mesh, -1, 60000, &revision) == result);
    CHECK(apisix_mesh_status(mesh, &value) == result);
    CHECK(apisix_mesh_metrics(mesh, &value) == result);
    CHECK(apisix_mesh_stop(mesh) == result);
    CHECK(revision == -1 && list == NULL && value.data == NULL && value.len == 0);
}


static void
check_bad_input(void)
{
    int           fd = -1;
    apisix_mesh  *mesh = NULL;

    CHECK(apisix_mesh_config_check("{\"speed\": 1}", 12) == APISIX_MESH_RESULT_CONFIG);
    CHECK(last_error_names("setting speed: unknown"));
    CHECK(apisix_mesh_config_check(NULL, 5) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_config_check("\xff", 1) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_listen(NULL, 2, &fd) == APISIX_MESH_RESULT_ARGUMENT && fd == -1);
    CHECK(apisix_mesh_listen("{}", 2, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_start("{", 1, &mesh) == APISIX_MESH_RESULT_CONFIG);
    CHECK(apisix_mesh_start(NULL, 2, &mesh) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_start("{}", 2, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_follow(NULL, 2, &mesh) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_follow("{}", 2, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(last_error_names("argument mesh: is NULL"));
    CHECK(apisix_mesh_running(NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_running(&mesh) == APISIX_MESH_RESULT_NOT_RUNNING);
    CHECK(mesh == NULL);

    check_refused(NULL, APISIX_MESH_RESULT_NOT_RUNNING);
    check_refused((apisix_mesh *) &fd, APISIX_MESH_RESULT_NOT_RUNNING);

    CHECK(apisix_mesh_list_len(NULL) == 0);
    CHECK(apisix_mesh_list_revision(NULL) == 0);
    apisix_mesh_list_free(NULL);
    apisix_mesh_buffer_free(NULL);
}


static void
check_settings(void)
{
    apisix_mesh_buffer   json = { NULL, 0 };
    apisix_mesh_config  *config;

    CHECK((config = apisix_mesh_config_new()) != NULL);
    CHECK(apisix_mesh_config_text(config, &json) == APISIX_MESH_RESULT_CONFIG);
    CHECK(json.data == NULL);
    CHECK(apisix_mesh_config_set(config, "speed", 5, "1", 1) == APISIX_MESH_RESULT_CONFIG);
    CHECK(apisix_mesh_config_set(config, "xds", 3, "grpc://a:1", 10) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_config_set(config, "log_level", 9, "loud", 4) == APISIX_MESH_RESULT_CONFIG);
    CHECK(last_error_names("setting log_level"));

    CHECK(apisix_mesh_config_set(NULL, "xds", 3, "a", 1) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_config_set(config, NULL, 3, "a", 1) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_config_set(config, "xds", 3, NULL, 1) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_config_text(NULL, &json) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_config_text(config, NULL) == APISIX_MESH_RESULT_ARGUMENT);

    CHECK(apisix_mesh_config_text(config, &json) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_config_check(json.data, json.len) == APISIX_MESH_RESULT_OK);
    apisix_mesh_buffer_free(&json);
    apisix_mesh_config_free(config);
    apisix_mesh_config_free(NULL);
}


/* While an instance runs: NULL wherever a pointer is taken, and handles that are none. */
static void
check_bad_pointers(apisix_mesh *mesh)
{
    int64_t             revision;
    apisix_mesh_item    item;
    apisix_mesh_list   *list;
    apisix_mesh_buffer  value;

    check_refused(NULL, APISIX_MESH_RESULT_NOT_RUNNING);
    check_refused((apisix_mesh *) &value, APISIX_MESH_RESULT_NOT_RUNNING);
    check_refused((apisix_mesh *) 1, APISIX_MESH_RESULT_NOT_RUNNING);
    check_refused((apisix_mesh *) UINTPTR_MAX, APISIX_MESH_RESULT_NOT_RUNNING);

    CHECK(apisix_mesh_get(mesh, NULL, 9, &value, &revision) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(last_error_names("argument key: is NULL"));
    CHECK(apisix_mesh_get(mesh, "/routes/x", 9, NULL, &revision) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_get(mesh, "/routes/x", 9, &value, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_list_new(mesh, NULL, 1, &list) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_list_new(mesh, "/", 1, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_changes_new(mesh, 1, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_revision(mesh, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_wait(mesh, 1, 60000, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_status(mesh, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_metrics(mesh, NULL) == APISIX_MESH_RESULT_ARGUMENT);

    /* NULL is a text where it has no length. */
    CHECK(apisix_mesh_list_new(mesh, NULL, 0, &list) == APISIX_MESH_RESULT_OK);
    CHECK(apisix_mesh_list_len(list) > 0);
    CHECK(apisix_mesh_list_get(NULL, 0, &item) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_list_get(list, 0, NULL) == APISIX_MESH_RESULT_ARGUMENT);
    CHECK(apisix_mesh_list_get(list, SIZE_MAX, &item) == APISIX_MESH_RESULT_NOT_FOUND);
    apisix_mesh_list_free(list);
}


static void
check_objects(apisix_mesh *mesh)
{
    int64_t             revision, mod_revision;
    apisix_mesh_item    item;
    apisix_mesh_list   *list;
    apisix_mesh_buffer  value;

    CHECK((revision = first_revision(mesh)) > 0);
    CHECK(apisix_mesh_wait(mesh, 0, 60000, &mod_revision) == APISIX_MESH_RESULT_OK && mod_revision >= revision);
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

    CHECK(apisix_mesh_metrics(mesh, &value) == APISIX_MESH_RESULT_OK);
    CHECK(value.len > 0 && memmem(value.data, value.len, "\napisix_mesh_ready 1\n", 21) != NULL);
    apisix_mesh_buffer_free(&value);
}


/* A handle carried over a fork is an error in the child, at once, and not a hang. */
static void
check_fork(apisix_mesh *mesh)
{
    int           status;
    pid_t         pid;
    apisix_mesh  *same = NULL;

    pid = fork();

    if (pid == 0) {
        alarm(60);
        check_refused(mesh, APISIX_MESH_RESULT_FORKED);
        CHECK(apisix_mesh_running(&same) == APISIX_MESH_RESULT_FORKED && same == NULL);

        /* Not exit(): what the parent's thread held is out of reach here, and a leak checker would call it lost. */
        execlp("true", "true", NULL);
        _exit(1);
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
        alarm(180);
        CHECK(apisix_mesh_follow("{\"xds\": \"grpc://a:1\"}", 21, &mesh) == APISIX_MESH_RESULT_CONFIG);
        CHECK(last_error_names("setting state_dir: not set"));
        CHECK(apisix_mesh_follow(config, strlen(config), &mesh) == APISIX_MESH_RESULT_OK);
        check_objects(mesh);
        CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_OK);
        check_refused(mesh, APISIX_MESH_RESULT_NOT_RUNNING);
        exit(0);
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

    setvbuf(stdout, NULL, _IOLBF, 0);  /* no line is left in a buffer to be printed by both sides of a fork */

    CHECK(apisix_mesh_abi_version() == APISIX_MESH_ABI_VERSION);
    CHECK(strlen(apisix_mesh_version()) > 0);

    apisix_mesh_set_log(count_line, &log_lines);
    check_bad_input();
    check_settings();

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
    check_bad_pointers(mesh);
    check_fork(mesh);
    CHECK(waitpid(follower, &status, 0) == follower);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_OK);
    check_refused(mesh, APISIX_MESH_RESULT_NOT_RUNNING);
    CHECK(__atomic_load_n(&log_lines, __ATOMIC_SEQ_CST) > 0);

    CHECK(apisix_mesh_start(config, strlen(config), &mesh) == APISIX_MESH_RESULT_OK);
    CHECK(first_revision(mesh) > 0);
    CHECK(apisix_mesh_stop(mesh) == APISIX_MESH_RESULT_OK);
    apisix_mesh_set_log(NULL, NULL);

    return 0;
}
