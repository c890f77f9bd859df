# Everything from a bare machine with Python 3.11+ and make: `make run`, `make test`, `make demo`.
PYTHON ?= python3
VENV_PYTHON = .venv/bin/python
TESTS ?=

.PHONY: help run test check demo stop status format lock install-service setup setup-dev setup-models setup-servers

help:
	@echo "make run      set up, start the daemon, show its status   安装依赖并启动守护进程"
	@echo "make stop     stop the daemon                             停止守护进程"
	@echo "make demo     watch the daemon on a simulated fleet       用模拟服务器演示"
	@echo "make test     set up and run the tests                    运行测试"
	@echo "make check    ruff and mypy --strict                      静态检查"
	@echo "make setup-models  what pulling and transferring models needs  安装模型下载与转存所需的依赖"
	@echo "make setup-servers the clients of Redis, RQ and MongoDB    安装 Redis、RQ、MongoDB 客户端"
	@echo "make install-service   install the systemd unit           安装 systemd 服务"

setup:
	@$(PYTHON) scripts/bootstrap.py requirements.txt

setup-dev:
	@$(PYTHON) scripts/bootstrap.py requirements-dev.txt

# With the clients of Hugging Face and ModelScope, for `python -m modelcache pull` and `transfer`.
setup-models:
	@$(PYTHON) scripts/bootstrap.py requirements-models.txt

# With the clients of Redis, RQ and MongoDB, for QUEUE_URL, REDIS_URL and MONGODB_URL.
setup-servers:
	@$(PYTHON) scripts/bootstrap.py requirements-servers.txt

.env:
	@cp .env.example .env && echo "Wrote .env from .env.example. 已生成 .env。"

run: setup .env
	@$(VENV_PYTHON) daemon.py start || test $$? -eq 75  # 75: it already runs, which is what was wanted
	@$(VENV_PYTHON) daemon.py status

stop status: setup
	@$(VENV_PYTHON) daemon.py $@

demo: setup
	@$(VENV_PYTHON) scripts/demo.py

# Without byte code each of the hundreds of programs that the tests start would compile the project anew.
test: setup-dev
	env -u PYTHONDONTWRITEBYTECODE $(VENV_PYTHON) -m pytest -n 4 --dist worksteal $(TESTS)

check: setup-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# The pins, anew from pyproject.toml. No addresses: where packages come from is each machine's own setting.
lock: setup-dev
	.venv/bin/pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --strip-extras --no-header -o requirements.txt pyproject.toml
	.venv/bin/pip-compile -q --upgrade --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --strip-extras --no-header --extra dev --extra models --extra servers -o requirements-dev.txt pyproject.toml
	.venv/bin/pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --strip-extras --no-header --extra models -o requirements-models.txt pyproject.toml
	.venv/bin/pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --strip-extras --no-header --extra servers -o requirements-servers.txt pyproject.toml

install-service: setup
	@$(VENV_PYTHON) scripts/install_service.py
