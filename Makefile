# Every target is one line and does everything it needs, the environment included.
export CHECK RESET RECORDINGS BROKER ONLY PYTHON VENV LOCK

.PHONY: demo test check bench nightly screenshots lock clean

demo: ; @exec deploy/dev/demo.sh
test: ; @exec deploy/dev/test.sh
check: ; @exec deploy/dev/check.sh
bench: ; @exec deploy/dev/bench.sh
nightly: ; @exec deploy/dev/test.sh nightly
screenshots: ; @exec deploy/dev/screenshots.sh
lock: ; @exec locks/lock.sh
clean: ; @exec deploy/dev/clean.sh
