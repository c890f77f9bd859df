import pytest

# Not named test_*: pytest would otherwise leave its asserts as they are.
pytest.register_assert_rewrite("tests.operations.engine_contract")
