"""Every code there is: what it means, how it comes about, how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final, Literal, TypeAlias

    Severity: TypeAlias = Literal["error", "warning"]


class Code:
    """An entry of the catalogue.

    Attributes:
        stage: Where on a plugin's way it is noticed.
        severity: `error` refuses or fails the plugin, `warning` tells.
        meaning: What is so, in one sentence.
        cause: How it comes about.
        mend: What to do about it.
    """

    __slots__ = ("cause", "meaning", "mend", "severity", "stage")

    def __init__(self, stage: str, severity: Severity, meaning: str, cause: str, mend: str) -> None:
        self.stage = stage
        self.severity: Severity = severity
        self.meaning = meaning
        self.cause = cause
        self.mend = mend


def _error(stage: str, meaning: str, cause: str, mend: str) -> Code:
    return Code(stage, "error", meaning, cause, mend)


def _warning(stage: str, meaning: str, cause: str, mend: str) -> Code:
    return Code(stage, "warning", meaning, cause, mend)


CODES: Final = {
    # discovery
    "path-unreadable": _error(
        "discovery",
        "A folder or archive on the search path, or a plugin folder or a wheel in it, cannot be read.",
        "Its permissions forbid it, it is a loop of links or a damaged archive, or another package's finder raised.",
        "Mend the permissions or the archive, or take the entry off PYTHONPATH or out of the .pth file that adds it.",
    ),
    "metadata-unreadable": _error(
        "discovery",
        "A metadata file of a distribution is missing or cannot be read.",
        "An install or an uninstall broke off, permissions forbid it, or the file has more than a megabyte.",
        "Reinstall the distribution, or remove its dist-info folder if nothing else of it is there.",
    ),
    "metadata-malformed": _error(
        "discovery",
        "A metadata file of a distribution does not have its format.",
        "The file was edited or written by a faulty build: a line of entry_points.txt that is not `name = value`, text "
        "that is not UTF-8, METADATA without exactly one name and one version.",
        "Reinstall the distribution. The message names file and line; other distributions are not affected.",
    ),
    "distribution-leftover": _warning(
        "discovery",
        "A folder is what pip left of an uninstall that did not finish.",
        "What pip removes, it first renames to begin with `~`; this it could not remove, mostly because a file was in "
        "use.",
        "Remove the folder.",
    ),
    # discovery, in plugin folders
    "plugin-dir-missing": _error(
        "discovery",
        "A plugin folder is not there.",
        "A mistyped path, a volume that is not mounted, or a file of that name.",
        "Make the folder, or correct `--plugin-dir` or `plugin_dirs`. An empty folder is no error.",
    ),
    "world-writable": _error(
        "discovery",
        "A plugin folder, or a wheel in it, can be written by everybody.",
        "Its permissions, or the umask of who made it, let any user of the machine change what the application runs.",
        "Take the permission away: `chmod o-w`. Until then nothing of it is used.",
    ),
    "wheel-not-regular": _error(
        "discovery",
        "What is called as a wheel is not a regular file.",
        "It is a folder, a pipe, a device, a loop of links, or a link to nothing, such as an editor's lock.",
        "Remove it, or put the wheel itself there. It was not opened.",
    ),
    "wheel-settling": _warning(
        "discovery",
        "A wheel that was written a moment ago is not yet one that can be used.",
        "It is still being copied, or it is faulty; two seconds after its last change the host knows.",
        "Let the copy end. Each survey looks at it again; if it stays faulty, an error says why.",
    ),
    "wheel-malformed": _error(
        "discovery",
        "The file is not a wheel, or not a whole one.",
        "Its copy broke off, it is of another format, or name, version and metadata do not agree.",
        "Copy it anew, under the name that it was built with; if it stays so, its author builds it anew.",
    ),
    "wheel-record": _error(
        "discovery",
        "The wheel does not hold what its RECORD lists.",
        "It was damaged or changed after it was built, or its author's tool wrote RECORD wrongly.",
        "Get it anew from where it comes; nothing of it was unpacked.",
    ),
    "wheel-unsafe": _error(
        "discovery",
        "The wheel is made so that unpacking it would not be safe.",
        "It has paths that lead out of its folder, links, bytes that belong to no member or to two, more or larger "
        "members than any plugin, `.pth` or compiled files, scripts or data for other places.",
        "Do not use it. If you trust its author, tell them; `pip install` may take what is refused here.",
    ),
    "wheel-clash": _error(
        "discovery",
        "The wheel brings a module that is there already.",
        "Another distribution, another wheel of the folder or a file on the search path has it, and that would be "
        "imported in its place.",
        "Remove one of the two; the message names both.",
    ),
    "wheel-incompatible": _warning(
        "discovery",
        "The wheel is for another Python or platform, and is passed over.",
        "Its name says for which ones it was built. A folder may hold wheels for several.",
        "Put the wheel for this Python and platform beside it, or remove it.",
    ),
    "wheel-replaced": _error(
        "import",
        "The plugin's wheel was replaced while the application runs.",
        "Modules of the version before are imported already, and two versions in one process would be mixed.",
        "Start the application anew.",
    ),
    "store-unwritable": _error(
        "discovery",
        "The folder into which wheels are unpacked cannot be written.",
        "Its permissions, a full disk, a user without a home, or a link or another user's folder in its place.",
        "Mend it, or set `XDG_CACHE_HOME` to a folder of the user's own. `pluginhost cache` tells where it is.",
    ),
    "distribution-incomplete": _error(
        "discovery",
        "Files that a distribution was installed with are gone, or are not as they were installed.",
        "An install or an uninstall broke off or goes on at this moment, files were removed or changed by hand, or an "
        "editable install's project was moved.",
        "Reinstall the distribution; if it was meant to go, remove its dist-info folder too.",
    ),
    "manifest-stale": _error(
        "discovery",
        "The project of an editable install has changed since it was installed.",
        "What is told before an import (entry points, pin, contracts, capabilities, an API's fingerprint) is that of "
        "the day of the install. The code is that of now.",
        "Install it again; the hint has the command.",
    ),
    "path-edited": _warning(
        "discovery",
        "Something beside Python and the installed distributions adds to the search path.",
        "PYTHONPATH is set, a .pth file that no distribution brought adds a folder or runs code, or a module changes "
        "`sys.path` when Python starts; or anybody may write into a folder on it.",
        "Install what is meant to be there, and take the entry away. The message names it and what adds it.",
    ),
    # admission
    "entry-point-malformed": _error(
        "admission",
        "An entry point's value is neither `module` nor `module:factory`.",
        "The plugin's author wrote something else under `[project.entry-points]`.",
        'The author writes `name = "module:New"`, or `name = "module"` when the factory is called New.',
    ),
    "name-invalid": _error(
        "admission",
        "The name of a plugin or of its distribution is not allowed.",
        "It is empty or very long, holds a path, a control character, or letters that are not ASCII, which can look "
        "like others.",
        "The author chooses ASCII letters, digits, `-`, `_` and single dots.",
    ),
    "name-clash": _error(
        "admission",
        "Several distributions register the same plugin name.",
        "Two plugins happen to be called alike, or one takes the place of another. There is no silent winner: all are "
        "refused until one is picked.",
        "Name the one you mean as NAME@DISTRIBUTION, set its `distribution` in the plugin's settings, or uninstall the "
        "others.",
    ),
    "name-confusable": _error(
        "admission",
        "Two plugins' names differ only in case or in their separators.",
        "Two plugins happen to be called nearly alike, or one wants to be taken for the other.",
        "Name the one you mean as NAME@DISTRIBUTION, set its `distribution` in the plugin's settings, or uninstall the "
        "other.",
    ),
    "version-invalid": _error(
        "admission",
        "The version of a plugin's distribution is not a version.",
        "A build backend wrote what does not follow PEP 440, or the metadata was edited.",
        "The author corrects the version and builds anew; until then uninstall it.",
    ),
    "distribution-shadowed": _warning(
        "admission",
        "A distribution is there twice; the first on the search path counts, or the highest version in plugin folders.",
        "PYTHONPATH, a target folder, a user site or a plugin folder holds another copy, often of another version.",
        "Uninstall or remove the one that you do not mean. The message names both.",
    ),
    "api-missing": _error(
        "admission",
        "The API package is not installed.",
        "The host was pointed at another API with `api` or `--api`, or the API's distribution was uninstalled.",
        "Install the distribution that provides it, or correct the name; `--api none` is for groups without an API.",
    ),
    "api-duplicated": _error(
        "admission",
        "The API package is there more than once.",
        "`pip install --target`, an editable install beside a wheel, a folder on PYTHONPATH or in a .pth file, or a "
        "zip holds another copy. Two copies make two classes of each contract, neither of which is the other.",
        "Uninstall the API until none is left, install the one that you want, and remove the other from the path.",
    ),
    "api-forked": _error(
        "admission",
        "The plugin was built against another API of the same version.",
        "Somebody changed the API's contracts without changing its version, and built the plugin against that.",
        "Install the API that both were built against, or build the plugin anew against the one that is installed.",
    ),
    "api-vendored": _error(
        "admission",
        "The plugin's distribution carries a copy of the API.",
        "The author vendored it, under its own or another name, in a folder, an archive, or by a .pth file.",
        "The author removes the copy and depends on the API's distribution; until then uninstall the plugin.",
    ),
    "pin-missing": _error(
        "admission",
        "The plugin does not say which versions of the API it works with.",
        "Its dependencies do not name the API's distribution, name it without versions, or only under a marker that "
        "does not hold here.",
        'The author writes `dependencies = ["pluginapi~=1.0"]`, with the API\'s name and version, under [project].',
    ),
    "pin-malformed": _error(
        "admission",
        "A requirement of the plugin cannot be parsed.",
        "Its metadata was written by hand or by an old tool.",
        "The author corrects the requirement and builds anew.",
    ),
    "pin-unsatisfied": _error(
        "admission",
        "The plugin's pin excludes the version of the API that is installed.",
        "The plugin was made for another API version, or the API was upgraded or downgraded after it was installed.",
        "Install a version of the plugin made for the installed API, or the API that the plugin and all others take.",
    ),
    "python-unsatisfied": _error(
        "admission",
        "The plugin is not made for this Python.",
        "Its `Requires-Python` excludes the interpreter that runs the host; the folder is perhaps another Python's.",
        "Install a version of the plugin for this Python, or run the application on one that it takes.",
    ),
    "dependency-missing": _error(
        "admission",
        "A distribution that the plugin needs is not installed.",
        "The plugin was installed with `--no-deps`, an extra that its entry point names was not asked for, or the "
        "other was uninstalled.",
        "Install it; the hint has the command.",
    ),
    "dependency-unsatisfied": _error(
        "admission",
        "A distribution that the plugin needs is installed in a version that it does not take.",
        "Something else asked for that version; the message names who.",
        "Install a version that all of them take, or run the plugin where the others are not.",
    ),
    "manifest-malformed": _error(
        "admission",
        "The manifest in the plugin's wheel cannot be read.",
        "The file was edited, or written by a later pluginapi than this host knows.",
        "Reinstall the plugin; if the message speaks of a schema, upgrade pluginhost.",
    ),
    "manifest-mismatch": _error(
        "admission",
        "The manifest and the entry point disagree.",
        "`entry_points.txt` or the manifest was edited after the wheel was built.",
        "Reinstall the plugin, or build it anew.",
    ),
    "module-shadows": _error(
        "admission",
        "The plugin's module is called like one of Python, of the host or of the API.",
        "The entry point names such a module, which would be imported in the plugin's place or hide the real one.",
        "The author gives the module a name of its own.",
    ),
    "module-foreign": _error(
        "admission",
        "The plugin's module is not its own distribution's.",
        "The entry point names another distribution's module, two distributions brought the same file, or the file was "
        "put there by hand.",
        "The author names a module of the plugin's own; reinstall a distribution whose file was overwritten.",
    ),
    "program-missing": _error(
        "admission",
        "The program that a plugin names is not there.",
        "The wheel does not hold the file, or it was removed; or a name without a folder is neither beside the "
        "interpreter's scripts nor on PATH.",
        "The author adds the file to the wheel. Reinstall the plugin, or install what brings the program.",
    ),
    "native-incompatible": _error(
        "admission",
        "An extension module of the plugin was built for another interpreter or platform.",
        "The wheel was installed with another Python, or copied from another machine.",
        "Reinstall the plugin with the Python that runs the host.",
    ),
    "disabled": _error(
        "admission",
        "The settings switch the plugin off.",
        "`enabled` is false in the plugin's settings.",
        "`pluginhost enable NAME` sets it to true in the configuration file; an application may set it by argument.",
    ),
    "not-allowed": _error(
        "admission",
        "The plugin is not among those that the settings allow.",
        "`allow` names the plugins that may run, and this one is not named.",
        "Add it to `allow`, by its name or as `NAME@DISTRIBUTION`, or leave `allow` out: then all may run.",
    ),
    "safe-mode": _error(
        "admission",
        "No installed plugin is started in safe mode.",
        "`safe_mode` is true, so that an application can be mended that a plugin has broken.",
        "Find the broken plugin with `pluginhost doctor --load`, disable or uninstall it, and leave safe mode.",
    ),
    # loading
    "config-wrong": _error(
        "new",
        "The plugin's configuration is not of the type that the plugin declares.",
        "A value in its `config` is of the wrong type or out of range, a key is misspelt, or one is missing.",
        "Correct what the message names. `pluginhost config schema NAME` tells what may be set; `pluginhost config "
        "check` checks all of it without starting a plugin.",
    ),
    "module-missing": _error(
        "import",
        "The entry point's module does not exist.",
        "The install broke off, the files were removed, or the author's entry point is wrong.",
        "Reinstall the plugin; if that does not help, its author corrects the entry point.",
    ),
    "import-failed": _error(
        "import",
        "The entry point's module raised while it was imported.",
        "A fault of the plugin, or a dependency that is missing or has changed.",
        "`--traceback` shows where; `pip check` tells what is missing.",
    ),
    "symbol-missing": _error(
        "lookup",
        "The module does not have the symbol.",
        "The entry point names a factory that is not there, or a caller looked up a name that is not; the hint has the "
        "nearest.",
        "Correct the name.",
    ),
    "symbol-type": _error(
        "lookup",
        "The symbol is not of the type that was asked for.",
        "The caller expects another type than the plugin documents, or the plugin bound something else to the name.",
        "Ask for the type that the plugin documents.",
    ),
    "factory-not-callable": _error(
        "new",
        "The factory is not something that can be called.",
        "The entry point names a value, not a function or a class.",
        "The author writes `def New():`, returning the plugin.",
    ),
    "factory-failed": _error(
        "new",
        "The factory raised.",
        "A fault of the plugin; a factory should do no work, which belongs into `init`.",
        "`--traceback` shows where.",
    ),
    "factory-arguments": _error(
        "new",
        "The factory cannot be called without arguments.",
        "It asks for some; the host has none to give.",
        "The author writes `def New():`; a plugin gets its configuration in `init`.",
    ),
    "api-version": _error(
        "type",
        "The plugin states an API version that the host's API is not.",
        "`APIVersion` in its module, or of the object that it made, or what a program says in `Describe`, is another "
        "major version or a later one.",
        "Install a version of the plugin made for the API that is installed.",
    ),
    "capabilities-wrong": _error(
        "type",
        "A plugin's `Capabilities` are no texts, or others than those of its manifest.",
        "The module and pyproject.toml were changed apart.",
        "The author writes the same ones in both, or in pyproject.toml alone, and builds anew.",
    ),
    "wrong-type": _error(
        "type",
        "The plugin is not an instance of the contract.",
        "The factory returned something else, or the caller asked for a contract that the plugin does not implement.",
        "The author derives the class from the contract; a caller asks for a contract that the plugin has.",
    ),
    "second-api-copy": _error(
        "type",
        "The plugin's contract comes from another copy of the API.",
        "The plugin carries or loads a copy, so that its class derives from a class that only looks like the host's.",
        "The author removes the copy, which the message names, and imports the API that is installed.",
    ),
    "api-replaced": _error(
        "type",
        "A plugin replaced a module of the API while it was imported.",
        "It put something else under the API's name into `sys.modules`.",
        "Uninstall the plugin. The host has put its own module back.",
    ),
    "contract-broken": _error(
        "type",
        "The plugin derives from the contract but does not keep it.",
        "An attribute is missing or of another type, or a method is `async` where the contract's is not.",
        "The author adds what the message names.",
    ),
    "process-changed": _warning(
        "import",
        "A plugin changed something of the whole process while it was imported or made.",
        "It set sys.path, sys.stdout, the warnings filters, the root logger or the like at import; the host has undone "
        "what it could.",
        "The author leaves the process alone, and begins the plugin's work in `init`.",
    ),
    "process-unsafe": _error(
        "probe",
        "A plugin takes the process out of its application's hands while it is imported or made.",
        "It changed a signal handler, the environment, the working folder, a hook, a limit or a function of the "
        "standard library, closed a stream, or added an audit hook.",
        "The author leaves the process alone, and begins the plugin's work in `init`. It is refused at first sight; "
        "where the probe is off, it is told of, and undone where that can be.",
    ),
    "process-forked": _error(
        "probe",
        "A plugin forks the process while it is imported or made.",
        "It calls `os.fork`, or starts a process by multiprocessing in the way that forks. The fork would run on as a "
        "second host.",
        "The author starts processes in `init`, by subprocess or by multiprocessing's `spawn`.",
    ),
    "probe-crashed": _error(
        "probe",
        "The process in which a plugin was first loaded ended before it was loaded.",
        "Native code crashed, or the plugin ended the process. The message has the exit status or signal, and where it "
        "was.",
        "Tell the plugin's author. Where what it needs was mended, `pluginhost cache --clear` lets it be tried again; "
        "so does every change of what is installed.",
    ),
    "probe-hung": _error(
        "probe",
        "A plugin's first load did not come to an end in time.",
        "Its import or its factory waits for something or never ends; or the machine was very busy. The message has "
        "the place.",
        "Tell the plugin's author. `pluginhost cache --clear` lets it be tried again; `probe_timeout` gives it longer.",
    ),
    "exit-disturbed": _error(
        "probe",
        "A process that has loaded the plugin does not end as it should.",
        "An exit function that the plugin registered, or a thread that it started, waits for ever, or sets another "
        "exit status.",
        "Tell the plugin's author: threads are daemons or end in `shutdown`.",
    ),
    "memory-exhausted": _error(
        "probe",
        "A plugin ran out of memory while it was first loaded.",
        "Its import or factory takes more memory than the process of a first load has.",
        "The author loads large data in `init` or at the first call.",
    ),
    "probe-failed": _error(
        "probe",
        "There can be no process for a plugin's first load.",
        "The application is frozen or embedded, so that `sys.executable` is no Python, or the system has no processes "
        "left.",
        'Set `probe = "never"` where first loads in a process of their own are not possible.',
    ),
    "profile-crashed": _error(
        "probe",
        "The process in which a plugin was measured ended before it was.",
        "Native code crashed, or the plugin ended the process; or the system has no processes left. The message has "
        "the exit status or signal, and where it was.",
        "Tell the plugin's author; `pluginhost doctor --load` tells what a first load does.",
    ),
    "profile-hung": _error(
        "probe",
        "The start of a plugin that was to be measured did not come to an end in time.",
        "Its import, its factory or its `init` waits for something or never ends; or the machine was very busy. The "
        "message has the place.",
        "Tell the plugin's author. `pluginhost profile --timeout` gives it longer.",
    ),
    "work-begun": _warning(
        "import",
        "A plugin left threads running, or files or sockets open, when it was imported and made.",
        "A library that it imports keeps such, or the plugin began its work too early.",
        "The author begins the plugin's work in `init`.",
    ),
    "import-habit": _warning(
        "import",
        "A plugin does what it should not while it is imported.",
        "Its module reads files, opens sockets, starts threads, imports pluginhost, or registers itself.",
        "The author leaves that to `init`, and registration to the entry point.",
    ),
    "import-timeout": _error(
        "import",
        "The import of the plugin's module took too long.",
        "It waits for something, such as a network, or does work that belongs into `init`; the message has the "
        "line. It is waited for, and what it brings is not used.",
        "Tell its author, or set `import_timeout` for the plugin. If it never ends, end the process and disable it.",
    ),
    "new-timeout": _error(
        "new",
        "The plugin's `New()` took too long.",
        "It waits for something, or does work that belongs into `init`; the message has the line. It is waited for, "
        "and what it returns is not used.",
        "Tell its author, or set `new_timeout` for the plugin. If it never ends, end the process and disable it.",
    ),
    "init-timeout": _error(
        "init",
        "The plugin's `init` or `validate` took too long.",
        "It waits for something that its configuration names, or works on; the message has the line. It is waited for, "
        "and the plugin is shut down then.",
        "Check the plugin's `config`, or set `init_timeout` for it. If it never ends, end the process and disable it.",
    ),
    "init-failed": _error(
        "init",
        "The plugin's `init` raised.",
        "Its configuration lacks something, or what it needs is not there.",
        "Check the plugin's `config`; `--traceback` shows where.",
    ),
    "validate-failed": _error(
        "init",
        "The plugin's `validate` raised.",
        "It found after `init` that it is not fit to be called: a setting is wrong, or what it needs is not there.",
        "Check the plugin's `config`; `--traceback` shows where.",
    ),
    "requirement-missing": _error(
        "init",
        "What the plugin requires is not there.",
        "Its manifest requires a plugin, a contract or a capability that no other plugin serves, or one that the host "
        "does not offer; or the plugin that it requires failed.",
        "Install or mend what the message names. The plugin is looked at anew when it is asked for again.",
    ),
    "requirement-cycle": _error(
        "init",
        "Plugins wait for each other.",
        "Each of those in the message requires the next, in its manifest or by asking its host for it in `init`.",
        "One of them must do without the next, or ask for it when it is called. Until then, disable one.",
    ),
    "capability-missing": _error(
        "init",
        "The plugin does not have a capability that is required of it.",
        "The application asked for one that the plugin's `Capabilities` or its manifest do not name.",
        "The hint lists the plugins that have it.",
    ),
    "host-revoked": _error(
        "shutdown",
        "A plugin uses its host after its shutdown.",
        "A thread or a callback of the plugin outlived it.",
        "The author ends them in `shutdown`.",
    ),
    "listener-failed": _warning(
        "call",
        "A listener for events raised.",
        "A fault of the application's or the plugin's listener; the other listeners were told all the same.",
        "Mend the listener.",
    ),
    "events-dropped": _warning(
        "call",
        "Events for a plugin in a process of its own were dropped.",
        "They come faster than its listeners return: 1,000 of them waited, or 16 MB. It is told once of a process.",
        "Have the plugin subscribe to fewer topics, or its listeners return sooner.",
    ),
    "route-nowhere": _error(
        "call",
        "No plugin may serve a route.",
        "The route has no default, and none of the installed plugins that implement its contract runs, has the "
        "capabilities that the route asks for, and is not switched off for it.",
        "Install such a plugin, or set the route's `default`; `pluginhost list` shows what is installed.",
    ),
    "plugin-stopped": _error(
        "call",
        "The plugin does not run.",
        "It was stopped, or failed, and somebody still calls it; calls are refused from the moment of the stop on.",
        "Start it: `manager.start(name)`.",
    ),
    "method-missing": _error(
        "call",
        "The plugin is too old to have what was called.",
        "It was built for an earlier minor version of the API, which did not have it, and the contract has no default.",
        "Upgrade the plugin.",
    ),
    "call-failed": _error(
        "call",
        "A call of the plugin raised.",
        "The arguments have no answer, or a fault of the plugin.",
        "Change the arguments; the message says where it was raised, and `--traceback` shows the whole way.",
    ),
    "reply-wrong": _error(
        "call",
        "A call of the plugin returned something else than its contract says.",
        "A fault of the plugin; `check_replies` is set for it, and has it looked at. The message has the path of the "
        "value that is wrong, such as `$[0].body`.",
        "Upgrade the plugin or tell its author; without `check_replies` the value goes on to the caller.",
    ),
    "call-timeout": _error(
        "call",
        "A call of the plugin did not return in time.",
        "It waits for something, works on, or had to wait for its turn; the message has the line. With "
        '`on_timeout = "report"` it is waited for, and other calls are refused meanwhile; with "abandon" its caller '
        "gets this error, and the thread is given up.",
        "Tell its author, or set `call_timeout` for the plugin.",
    ),
    "breaker-open": _error(
        "call",
        "The plugin's calls are refused for a while.",
        "So many of its calls failed, one after the other, or one did not return in time. The message has the last "
        "failure, and for how long.",
        "Mend that failure. One call is let through when the time is over: if it succeeds, all are.",
    ),
    "contract-uncrossable": _error(
        "call",
        "A contract cannot be called in another process, or in another language.",
        "A method or an attribute of it has no annotation, or one of a type of which another process can make nothing: "
        "a function, an open file, a class that is no plain data. Or protobuf has nothing for the type, or two names "
        "of the contract are one there.",
        "Annotate it with plain data, containers, dataclasses, enums or dates; or run its plugins in-process.",
    ),
    "channel-lost": _error(
        "call",
        "The process in which the plugin runs is gone, or has closed the channel of a call.",
        "It crashed, was killed, or ended by itself; whatever was called then may have been done, or not.",
        "See what the process last said. A call is never made a second time by itself.",
    ),
    "frame-malformed": _error(
        "call",
        "What came from the plugin's process, or came to it, is not what a call sends.",
        "Something other than the host's own code wrote to the channel: native code with a wrong descriptor, for "
        "instance. Or what came is cut, stale, or there twice. The channel is closed.",
        "Tell the plugin's author; the message says what is wrong with it.",
    ),
    "frame-too-large": _error(
        "call",
        "The arguments of a call, or what it returned, are larger than may cross to another process.",
        "More than 16 MB at once.",
        "Pass parts, a call for each, or have the method return an iterator of them.",
    ),
    "shutdown-failed": _error(
        "shutdown",
        "The plugin's `shutdown` raised.",
        "A fault of the plugin; the others were shut down all the same.",
        "Tell its author; what it held may be left behind.",
    ),
    "shutdown-timeout": _error(
        "shutdown",
        "The plugin's `shutdown` did not end in time.",
        "It waits for something, or works on; the message has the line. Its thread is given up.",
        "Tell its author. `PluginManager(shutdown_timeout=…)` gives all plugins more time together.",
    ),
    "drain-timeout": _warning(
        "shutdown",
        "Calls were still inside when the plugin was shut down.",
        "They took longer than there was time: half of what the plugin had for its end.",
        "Tell the plugin's author, or stop it when nobody calls it.",
    ),
    "leak": _warning(
        "shutdown",
        "Something of a plugin that ended, or of a generation that was replaced, is still there.",
        "A thread that runs on, an exit function, a handler, a registry or a variable of another module holds the old "
        "code or one of its objects; or another plugin of the same module is loaded. What refers to it is named.",
        "The plugin's author takes back in `shutdown` what it gave away, and ends its threads; where the application "
        "holds it, let go of it. Until then old and new classes stand side by side.",
    ),
    "exit-held": _warning(
        "shutdown",
        "A plugin held up the end of the process, and was broken off.",
        "A thread that it started, or a function that it gave to `atexit`, did not end.",
        "The author ends the thread in `shutdown`, which also takes the place of `atexit`.",
    ),
    # isolation
    "isolation-impossible": _error(
        "isolation",
        "The plugin cannot have a process of its own.",
        "Its group has no API, so nothing says what its calls are; or it is the application's own, which a function of "
        "the application makes.",
        "Run it in the application's process, or install it as a plugin of a group that has an API.",
    ),
    "child-failed": _error(
        "isolation",
        "The process of an isolated plugin did not come to serve.",
        "It could not be started, ended while it made the plugin, or did not say in time who it is; the message has "
        "how it ended and what it last wrote to standard error.",
        "Mend what the message says. `pluginhost doctor --load` loads the plugin in a process that may be lost, and "
        "tells more.",
    ),
    "handshake-mismatch": _error(
        "isolation",
        "The process of an isolated plugin has another API, another pluginhost, or another version of the plugin.",
        "Something was installed, upgraded or removed while the application ran: it has the old, a new process finds "
        "the new.",
        "If it is the plugin that changed, reload it; else restart the application.",
    ),
    "child-died": _warning(
        "isolation",
        "The process of an isolated plugin has ended by itself, and another takes its place.",
        "It crashed, called `os._exit`, was killed by the system for its memory, or by the host since it did not "
        "answer. The calls that were inside have failed.",
        "Nothing, if it stays at that. Else tell the plugin's author what the message says.",
    ),
    "child-silent": _warning(
        "isolation",
        "The process of an isolated plugin gives no sign of life.",
        "Native code holds the interpreter, the process was stopped, or the machine is overloaded. After 10 seconds it "
        "is killed.",
        "Tell the plugin's author, if it was not the machine.",
    ),
    "child-restarting": _error(
        "isolation",
        "The plugin's process has ended, and another is not there yet.",
        "It has ended before within the last minute, so there is a pause before the next: 0.1 seconds, then twice as "
        "long each time, 30 at most. Or a listener of `plugin.died` has called it: the next comes once that has "
        "returned.",
        "Call again later.",
    ),
    "child-failing": _error(
        "isolation",
        "The plugin's process has ended five times within a minute, and is not started again.",
        "A fault of the plugin, or limits that are too narrow for it.",
        "Mend it; `manager.start(NAME)` tries again. Tell its author.",
    ),
    "lookup-isolated": _error(
        "isolation",
        "A symbol of a plugin was asked for that has a process of its own.",
        "A symbol is a reference into the plugin's module, and none can point into another process.",
        "Have the contract offer it as a method or an attribute, or run the plugin in the application's process.",
    ),
    # goplugin
    "program-unstartable": _error(
        "goplugin",
        "A go-plugin program cannot be started.",
        "It is not there, not executable, or made for another system; or its working folder is not there.",
        "Correct the command. The message has what the system says.",
    ),
    "program-changed": _error(
        "goplugin",
        "A go-plugin program is not the one that is expected.",
        "Its checksum differs: it was upgraded, or somebody changed it. It was not started.",
        "If you upgraded it, set the checksum of the new program; else get it anew from where it comes.",
    ),
    "program-died": _error(
        "goplugin",
        "A go-plugin program has ended, though it was still needed.",
        "It crashed, was killed, or ended by itself; the message has how, and what it last wrote to standard error. "
        "Before the handshake, it mostly was given another magic cookie than it wants.",
        "Mend what it says. Whatever was called then may have been done, or not; a call is never made a second time by "
        "itself.",
    ),
    "handshake-late": _error(
        "goplugin",
        "A go-plugin program did not say in time where it can be reached.",
        "It hangs while it starts, is no go-plugin program, or the machine is overloaded.",
        "See what it last wrote to standard error; give it more time with `start_timeout`.",
    ),
    "handshake-malformed": _error(
        "goplugin",
        "What a go-plugin program first wrote to standard output is not the line of the handshake.",
        "It is no go-plugin program, it prints something before the line, or it names an address that is none of this "
        "machine. The message has what it wrote.",
        "A plugin writes nothing to standard output before the handshake; its log belongs on standard error. It "
        "listens at a socket, with a whole path, or at 127.0.0.1.",
    ),
    "protocol-unsupported": _error(
        "goplugin",
        "A go-plugin program speaks another protocol than gRPC.",
        "It was built for net/rpc, go-plugin's first protocol, which only Go can speak; or for another generation of "
        "go-plugin.",
        "Its author serves the plugin over gRPC: `GRPCServer: plugin.DefaultGRPCServer` in its `ServeConfig`.",
    ),
    "version-unsupported": _error(
        "goplugin",
        "A go-plugin program and its host have no version of their protocol in common.",
        "One of the two is newer than the other. The message has the versions.",
        "Upgrade the older one, or have one of them serve both versions.",
    ),
    "certificate-wrong": _error(
        "goplugin",
        "The other side of a go-plugin connection has no certificate, a wrong one, or one that was not asked for.",
        "It does not do AutoMTLS, or somebody else answers in its place; or the certificate cannot be read.",
        "Have both sides do AutoMTLS, or neither. If both do, find out who listens at that address.",
    ),
    "peer-failed": _error(
        "goplugin",
        "The other side of a go-plugin connection cannot be reached, or does not answer as go-plugin does.",
        "Nobody listens at the address that the handshake named, it closed the connection, does not answer in time, or "
        "speaks something else.",
        "See what it last wrote to standard error. If its process lives, a debugger tells what it waits for.",
    ),
    "contract-unserved": _error(
        "goplugin",
        "A go-plugin program does not serve the contract, or the plugin, that is asked for.",
        "It is another program than the one that is meant, it does not serve `pluginhost.plugin.Plugin` beside its "
        "contracts, or it serves several plugins and none of that name.",
        "The message has what it serves. Its author makes its services from `pluginhost proto CONTRACT` and "
        "`pluginhost proto Plugin`.",
    ),
    # usage
    "plugin-unknown": _error(
        "usage",
        "No installed plugin has that name.",
        "A mistyped name, another `--group`, or another environment than the one with the plugin; or an instance's "
        "`wheel` has no such plugin.",
        "`pluginhost list` shows what there is.",
    ),
    "method-unknown": _error(
        "usage",
        "The plugin has no such method.",
        "A mistyped name; `init` and `shutdown` are the host's to call.",
        "The hint lists the plugin's methods.",
    ),
    "arguments-wrong": _error(
        "usage",
        "The arguments do not fit the method or the command.",
        "Too few or too many, or one cannot be converted to the type that the method declares.",
        "The hint shows what is wanted.",
    ),
    "code-unknown": _error(
        "usage",
        "There is no such code.",
        "A mistyped code, or one of another version.",
        "The hint has the nearest.",
    ),
    "configuration-wrong": _error(
        "usage",
        "A setting is unknown or has the wrong type, or a configuration file cannot be read.",
        "A mistyped key or value; the message has its path, and the file or the line.",
        "Write what the hint says.",
    ),
    "config-not-owned": _warning(
        "usage",
        "The configuration file of the working folder belongs to another user; the wheels that it names are left out.",
        "Whoever may write the file could have code run, in the name of the one who types a command there.",
        "Read the file, then name it with `--config`, or make it your own.",
    ),
    "contract-unknown": _error(
        "usage",
        "An API package has no such contract.",
        "A mistyped name, or a contract of another package than `--api` says.",
        "The hint has the nearest, or all.",
    ),
    "contract-unfit": _error(
        "usage",
        "A class of the application's does not do as a contract.",
        "A subclass of it cannot be made without arguments, or it has abstract members that are no methods, properties "
        "or attributes.",
        "Change the contract as the message says.",
    ),
    "wheel-unreadable": _error(
        "usage",
        "The file is not a wheel that can be read.",
        "It is not there, damaged, not a wheel, or holds no plugin of the group.",
        "Give the path of a `.whl`, and its `--group`; of an instance, correct its `wheel`.",
    ),
    "tool-missing": _error(
        "usage",
        "A command, or a kind of plugin, needs a package that is not installed.",
        "It is needed by that alone, and so not a dependency.",
        "Install it; the hint has the command.",
    ),
    "tool-failed": _error(
        "usage",
        "A program that a command needs did not do its work.",
        "The message has its last line.",
        "Upgrade or reinstall it.",
    ),
    "target-unwritable": _error(
        "usage",
        "A file or folder cannot be written.",
        "Its folder is not there, or its permissions forbid it.",
        "Choose another place.",
    ),
    "target-exists": _error(
        "usage",
        "A file or folder stands where one should be written.",
        "The command was given the name of something that is there.",
        "Choose another name; nothing was changed.",
    ),
    "host-unknown": _error(
        "usage",
        "No running host is meant, or none that can be asked has the plugin, or the route.",
        "None runs; or it does not offer a control socket, belongs to another user, or has another runtime folder, "
        "`XDG_RUNTIME_DIR`, than this terminal.",
        "Set `control = true` for the application and start it anew; `pluginhost ps` shows what can be asked.",
    ),
    "host-several": _error(
        "usage",
        "Several running hosts have the plugin, or the route.",
        "The application runs several times, or has several managers.",
        "Say which one, with `--host`.",
    ),
    "manager-closed": _error(
        "usage",
        "The manager has shut down.",
        "It was used after `close()` or after its `with` block.",
        "Make a new PluginManager.",
    ),
    # reload
    "reload-impossible": _error(
        "reload",
        "A plugin cannot be reloaded in this process.",
        "It has compiled modules, which a process loads once; or it is the application's own, and not installed.",
        'Set `isolation = "process"` for it: then its new version has a new process. Or start the application anew.',
    ),
    "state-failed": _error(
        "reload",
        "A plugin's state could not be handed over.",
        "Its `export_state` raised, or returned what is no plain data; or its calls did not end in time.",
        "Reload again; if it goes on like this, tell the plugin's author.",
    ),
    "state-refused": _error(
        "reload",
        "The new generation of a plugin does not take the state of the one before.",
        "It has no `restore_state`, does not accept that version of the state, or `restore_state` raised.",
        "Tell the plugin's author; or set `cold_start = true` for it, and the new one begins without the state.",
    ),
    "rollback-unknown": _error(
        "reload",
        "There is no generation of a plugin to return to.",
        "It was not reloaded since the application started; or the copy of the version before was not kept, or was "
        "removed.",
        "Install the version that you want, and reload.",
    ),
    "generations-pinned": _warning(
        "reload",
        "Old generations of a plugin stay in memory, since something holds them.",
        "Threads, exit functions, handlers or registries of the process refer to what the old generations left there.",
        'Set `isolation = "process"`: then each generation ends with its process. Tell the plugin\'s author.',
    ),
    "watch-failed": _warning(
        "reload",
        "The files of plugins are not watched for a while, and what changes meanwhile is noticed only afterwards.",
        "The system watches no more for this user (on Linux: `fs.inotify.max_user_instances`, `max_user_watches`), or "
        "the search for what is installed failed. After 10 s it is tried again.",
        "Mend what the message names: raise these limits, say. Until then, reload by hand.",
    ),
    # control
    "control-unavailable": _warning(
        "control",
        "A host was to offer a control socket, and cannot.",
        "The runtime folder cannot be written, others may write to it, or its path is too long for a socket.",
        "Mend what the message says, or set `XDG_RUNTIME_DIR` to a folder of the user's own with a short path.",
    ),
    "control-malformed": _error(
        "control",
        "A request to a host, or its answer, is not what the other end understands.",
        "It was not written by `pluginhost`, or by another version of it.",
        "Use the `pluginhost` of the environment in which the application runs.",
    ),
    "host-silent": _error(
        "control",
        "A host does not answer.",
        "It ended meanwhile, was stopped by a signal, or too many ask it at once.",
        "Ask again; `pluginhost ps` shows whether it still runs.",
    ),
}
"""Every code; a Finding takes no other."""
