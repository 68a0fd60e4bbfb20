/* apisix-mesh: a service-mesh sidecar for nginx and Apache APISIX, as a library inside the nginx process.
 *
 * Generated from src/capi.rs by `make header`; this file is the manual of the C API.
 *
 * Every call that can fail returns a numbered result, never aborts, and writes its outputs only on success. Texts are
 * a pointer and a length, UTF-8, without a terminating NUL. Loading the library starts nothing. Any thread may make
 * any call; a handle made before a fork is refused in the child.
 */

#ifndef APISIX_MESH_H
#define APISIX_MESH_H

#include <stddef.h>
#include <stdint.h>

/**
 * The version of this interface. It changes when a caller built against an older header would break.
 */
#define APISIX_MESH_ABI_VERSION 1

/**
 * How a call ended.
 */
typedef enum {
  /**
   * It did what it says.
   */
  APISIX_MESH_RESULT_OK = 0,
  /**
   * The caller broke a rule of this header.
   */
  APISIX_MESH_RESULT_ARGUMENT = 1,
  /**
   * A setting is unknown, missing or bad.
   */
  APISIX_MESH_RESULT_CONFIG = 2,
  /**
   * The etcd endpoint's socket cannot be opened.
   */
  APISIX_MESH_RESULT_LISTEN = 3,
  /**
   * The system refused a thread or a descriptor.
   */
  APISIX_MESH_RESULT_SYSTEM = 4,
  /**
   * An instance runs in this process already.
   */
  APISIX_MESH_RESULT_ALREADY_RUNNING = 5,
  /**
   * No instance runs in this process, or not the one asked for.
   */
  APISIX_MESH_RESULT_NOT_RUNNING = 6,
  /**
   * The handle was made by the parent, before the fork.
   */
  APISIX_MESH_RESULT_FORKED = 7,
  /**
   * The first configuration has not come yet.
   */
  APISIX_MESH_RESULT_NOT_READY = 8,
  /**
   * There is no such object.
   */
  APISIX_MESH_RESULT_NOT_FOUND = 9,
  /**
   * A fault of the library; the process goes on.
   */
  APISIX_MESH_RESULT_PANIC = 10,
  /**
   * What happened after this revision is not known any more.
   */
  APISIX_MESH_RESULT_COMPACTED = 11,
} apisix_mesh_result;

/**
 * How much a log line matters.
 */
typedef enum {
  /**
   * Something is lost or refused.
   */
  APISIX_MESH_LOG_LEVEL_ERROR = 0,
  /**
   * Something is wrong and the library goes on.
   */
  APISIX_MESH_LOG_LEVEL_WARN = 1,
  /**
   * A change of state.
   */
  APISIX_MESH_LOG_LEVEL_INFO = 2,
  /**
   * Single events.
   */
  APISIX_MESH_LOG_LEVEL_DEBUG = 3,
} apisix_mesh_log_level;

/**
 * Objects as they were at one revision.
 */
typedef struct apisix_mesh_list apisix_mesh_list;

/**
 * A running instance of the library.
 */
typedef struct apisix_mesh apisix_mesh;

/**
 * Settings that are being put together.
 */
typedef struct apisix_mesh_config apisix_mesh_config;

/**
 * Bytes and their number. There is no terminating NUL.
 */
typedef struct {
  /**
   * The first byte; NULL when there is none.
   */
  const char *data;
  /**
   * How many bytes there are.
   */
  size_t len;
} apisix_mesh_buffer;

/**
 * Takes a log line: `text` has `len` bytes, no newline and no terminating NUL, and lives until the function returns.
 *
 * Called on threads of the library, one call at a time for each thread. It must not call into the library.
 */
typedef void (*apisix_mesh_log_fn)(void *data, apisix_mesh_log_level level, const char *text, size_t len);

/**
 * An object in a list. Texts have no terminating NUL and live as long as the list.
 */
typedef struct {
  /**
   * Such as "/routes/4f1c...".
   */
  const char *key;
  /**
   * Bytes in `key`.
   */
  size_t key_len;
  /**
   * Canonical JSON; NULL where the object is gone, in a list of changes.
   */
  const char *value;
  /**
   * Bytes in `value`.
   */
  size_t value_len;
  /**
   * The revision at which the object came; 0 where it is gone.
   */
  int64_t create_revision;
  /**
   * The revision at which it last changed, or went.
   */
  int64_t mod_revision;
} apisix_mesh_item;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of this interface that the library was built with. Compare it with `APISIX_MESH_ABI_VERSION` after
 * loading the library at run time.
 */
uint32_t apisix_mesh_abi_version(void);

/**
 * The library's version, such as "0.1.0". NUL-terminated, static.
 */
const char *apisix_mesh_version(void);

/**
 * Checks settings without using them: no socket, no thread, no file is opened.
 *
 * `config` is a JSON or YAML object of settings, `config_len` bytes long. The settings are listed in the README; values
 * may be of their own type or text.
 *
 * APISIX_MESH_RESULT_CONFIG: a setting is unknown, missing or bad; the last error names it, its value and the cure.
 *
 * `config` points to `config_len` readable bytes.
 */
apisix_mesh_result apisix_mesh_config_check(const char *config,
                                            size_t config_len);

/**
 * Settings that are put together one by one, for a caller that has no JSON writer. They belong to the caller until
 * apisix_mesh_config_free, and to one thread at a time.
 */
apisix_mesh_config *apisix_mesh_config_new(void);

/**
 * Sets one of the settings, in place of what it was. The value is read as text, whatever its type.
 *
 * APISIX_MESH_RESULT_CONFIG: there is no such setting, or it cannot have this value; it stays as it was.
 *
 * `config` was not freed, `name` and `value` point to as many readable bytes as they say.
 */
apisix_mesh_result apisix_mesh_config_set(apisix_mesh_config *config,
                                          const char *name,
                                          size_t name_len,
                                          const char *value,
                                          size_t value_len);

/**
 * Checks the settings together and gives them as text, for the calls that take settings, to be given back with
 * apisix_mesh_buffer_free.
 *
 * APISIX_MESH_RESULT_CONFIG: as for apisix_mesh_config_check.
 *
 * `config` was not freed, `json` points to writable memory.
 */
apisix_mesh_result apisix_mesh_config_text(const apisix_mesh_config *config,
                                           apisix_mesh_buffer *json);

/**
 * Frees settings; NULL is fine.
 *
 * `config` is NULL or was not freed.
 */
void apisix_mesh_config_free(apisix_mesh_config *config);

/**
 * Opens the etcd endpoint's socket as the settings say, bound and listening, and starts nothing.
 *
 * For a process that forks: the parent listens, and a child gives the descriptor to apisix_mesh_start as the setting
 * `etcd_listen` with the value `fd:N`. Clients that connect in between wait in the backlog. The caller owns `*fd` and
 * closes it; the descriptor is close-on-exec.
 *
 * APISIX_MESH_RESULT_LISTEN: the address is in use, not loopback, or refused by the system.
 *
 * `config` points to `config_len` readable bytes, `fd` to a writable int.
 */
apisix_mesh_result apisix_mesh_listen(const char *config,
                                      size_t config_len,
                                      int *fd);

/**
 * Sends the library's log lines to `log`, which is given `data` each time; NULL sends them to standard error, where
 * they also go at first. The setting `log_level` says which lines there are.
 *
 * `log` may be called with `data` on any thread until another function has been set and calls under way have returned.
 */
void apisix_mesh_set_log(apisix_mesh_log_fn log,
                         void *data);

/**
 * Starts the library in this process. Of the processes that share a `state_dir` exactly one hosts: it has one background
 * thread, all signals blocked in it, that connects to the control plane and serves the etcd endpoint. The others follow
 * it, as with apisix_mesh_follow, and each has a thread that sleeps until the host is gone, killed or stopped; then one
 * of them takes its place, on the endpoint's socket that it opens or inherited. Without `state_dir` this process hosts.
 *
 * Returns when the settings are good and, in the host, the endpoint listens; the first configuration comes later (see
 * apisix_mesh_status). Call it after the last fork: threads do not survive one. One instance runs in a process at a
 * time. The handle belongs to the caller until apisix_mesh_stop.
 *
 * APISIX_MESH_RESULT_CONFIG, APISIX_MESH_RESULT_LISTEN: as above.
 * APISIX_MESH_RESULT_ALREADY_RUNNING: stop the other instance first, or take it with apisix_mesh_running.
 * APISIX_MESH_RESULT_SYSTEM: no thread can be made, or the directory `state_dir` cannot be used.
 *
 * `config` points to `config_len` readable bytes, `mesh` to a writable pointer.
 */
apisix_mesh_result apisix_mesh_start(const char *config,
                                     size_t config_len,
                                     apisix_mesh **mesh);

/**
 * Makes this process answer the calls below from what a host in another process of this machine serves, by the same
 * settings, of which `state_dir` must be there; it never hosts. It starts no thread, opens no socket, and asks nobody: a
 * call costs a load of memory where nothing has changed, and reads what was added to the host's log where something
 * has. It goes on through the host's death and the start of another.
 *
 * Call it after the last fork, as the user that the host runs as. The handle is as that of apisix_mesh_start.
 *
 * APISIX_MESH_RESULT_CONFIG: a setting is bad, or `state_dir` is not set.
 * APISIX_MESH_RESULT_ALREADY_RUNNING: as above.
 * APISIX_MESH_RESULT_SYSTEM: the directory cannot be read or made.
 *
 * `config` points to `config_len` readable bytes, `mesh` to a writable pointer.
 */
apisix_mesh_result apisix_mesh_follow(const char *config,
                                      size_t config_len,
                                      apisix_mesh **mesh);

/**
 * The instance that runs in this process, whoever started it. The handle is borrowed: do not stop it unless you mean
 * to stop it for everybody.
 *
 * APISIX_MESH_RESULT_NOT_RUNNING: none does.
 *
 * `mesh` points to a writable pointer.
 */
apisix_mesh_result apisix_mesh_running(apisix_mesh **mesh);

/**
 * Stops the instance, waits for the host's thread (a second at most), and makes every handle on it invalid. Another
 * process that stands by takes over.
 *
 * APISIX_MESH_RESULT_NOT_RUNNING: the handle is not on the running instance; nothing happens.
 *
 * No other call uses the handle, now or later.
 */
apisix_mesh_result apisix_mesh_stop(apisix_mesh *mesh);

/**
 * The object with this key, such as "/routes/4f1c..." or "/upstreams/...": canonical JSON in `*value`, to be given back
 * with apisix_mesh_buffer_free, and the revision of its last change in `*mod_revision`.
 *
 * APISIX_MESH_RESULT_NOT_READY: the first configuration has not come yet.
 * APISIX_MESH_RESULT_NOT_FOUND: there is no such object.
 *
 * `mesh` is a valid handle, `key` points to `key_len` readable bytes, the outputs to writable memory.
 */
apisix_mesh_result apisix_mesh_get(const apisix_mesh *mesh,
                                   const char *key,
                                   size_t key_len,
                                   apisix_mesh_buffer *value,
                                   int64_t *mod_revision);

/**
 * All objects whose key starts with `prefix`, sorted by key, as they were at one revision. An empty prefix lists
 * everything. The list belongs to the caller until apisix_mesh_list_free; later changes do not reach it.
 *
 * APISIX_MESH_RESULT_NOT_READY: the first configuration has not come yet.
 *
 * `mesh` is a valid handle, `prefix` points to `prefix_len` readable bytes, `list` to a writable pointer.
 */
apisix_mesh_result apisix_mesh_list_new(const apisix_mesh *mesh,
                                        const char *prefix,
                                        size_t prefix_len,
                                        apisix_mesh_list **list);

/**
 * What has become of each object that changed after revision `after`, sorted by key: those that are gone have the value
 * NULL. The list's own revision is what to ask with next. Where nothing changed, it is empty; comparing
 * apisix_mesh_revision with the last one is cheaper still. The list is as that of apisix_mesh_list_new.
 *
 * APISIX_MESH_RESULT_NOT_READY: the first configuration has not come yet.
 * APISIX_MESH_RESULT_COMPACTED: too much has happened since, or another life of the host was then; list everything.
 *
 * `mesh` is a valid handle, `list` points to a writable pointer.
 */
apisix_mesh_result apisix_mesh_changes_new(const apisix_mesh *mesh,
                                           int64_t after,
                                           apisix_mesh_list **list);

/**
 * How many objects a list holds; 0 for NULL.
 *
 * `list` is NULL or a list that has not been freed.
 */
size_t apisix_mesh_list_len(const apisix_mesh_list *list);

/**
 * The revision at which a list was taken; 0 for NULL.
 *
 * `list` is NULL or a list that has not been freed.
 */
int64_t apisix_mesh_list_revision(const apisix_mesh_list *list);

/**
 * The object at `index` of a list. Its key and value are borrowed from the list.
 *
 * APISIX_MESH_RESULT_NOT_FOUND: the list has no such index.
 *
 * `list` is a list that has not been freed, `item` points to writable memory.
 */
apisix_mesh_result apisix_mesh_list_get(const apisix_mesh_list *list, size_t index, apisix_mesh_item *item);

/**
 * Frees a list; NULL is fine.
 *
 * `list` is NULL or a list that has not been freed.
 */
void apisix_mesh_list_free(apisix_mesh_list *list);

/**
 * The present revision: it rises with each update, and is 0 until the first configuration has come.
 *
 * `mesh` is a valid handle, `revision` points to writable memory.
 */
apisix_mesh_result apisix_mesh_revision(const apisix_mesh *mesh, int64_t *revision);

/**
 * Waits until the revision is another than `after`, for `milliseconds` at most, and gives the one there is then, so that
 * `*revision` equals `after` when nothing came. Made for threads of their own: it holds up the thread that calls it. It
 * costs nothing while it waits, and returns within a tenth of a second when the instance is stopped.
 *
 * APISIX_MESH_RESULT_NOT_RUNNING: the instance was stopped meanwhile.
 *
 * `mesh` is a valid handle, `revision` points to writable memory.
 */
apisix_mesh_result apisix_mesh_wait(const apisix_mesh *mesh,
                                    int64_t after,
                                    uint32_t milliseconds,
                                    int64_t *revision);

/**
 * What the library knows of itself, as a JSON object in `*json`, to be given back with apisix_mesh_buffer_free:
 * `role`, `ready`, `revision`, `objects`, `state`, and in the host `etcd`, `xds` (connection, per type what is held, rejected
 * and missing) and `issues` (what the control plane asked for and APISIX cannot do, by resource and field path).
 *
 * `mesh` is a valid handle, `json` points to writable memory.
 */
apisix_mesh_result apisix_mesh_status(const apisix_mesh *mesh,
                                      apisix_mesh_buffer *json);

/**
 * The same for a monitoring system, in Prometheus' text format: gauges whose names start with `apisix_mesh_`, each with
 * its line of help. `*text` is to be given back with apisix_mesh_buffer_free.
 *
 * `mesh` is a valid handle, `text` points to writable memory.
 */
apisix_mesh_result apisix_mesh_metrics(const apisix_mesh *mesh,
                                       apisix_mesh_buffer *text);

/**
 * Frees what a buffer holds and empties it; NULL and empty buffers are fine.
 *
 * `buffer` is NULL or points to a buffer that a call of this library filled, or to zeros.
 */
void apisix_mesh_buffer_free(apisix_mesh_buffer *buffer);

/**
 * The text of this thread's last failed call, in one line; empty when none failed. Borrowed: it lives until the next
 * call on this thread; do not free it.
 */
apisix_mesh_buffer apisix_mesh_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* APISIX_MESH_H */
