"""MLflow's own pages in a real browser, over a finished pipeline and a finished sweep: what people compare runs in."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow.tracking import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from support.servers import free_port

from dynaxx.services import mlflow_server

pytestmark = pytest.mark.slow

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
         "--window-size=1500,900")  # fmt: skip

PLOTS = "return Array.from(document.querySelectorAll('.js-plotly-plot')).map(p => p.data)"


@pytest.fixture(scope="module")
def ui(swept, tmp_path_factory) -> Iterator[tuple[str, MlflowClient]]:
    """(address, client) of a server on the project's runs."""
    store = f"sqlite:///{swept / 'mlflow.db'}"
    with mlflow_server(tmp_path_factory.mktemp("server"), store, free_port()) as server:
        yield server.uri, MlflowClient(server.uri)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("Chromium and its driver are not installed: `make services-deps` does it on Debian and Ubuntu")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def wait(browser: webdriver.Chrome, found: Any) -> Any:
    """Look again until it is there; pytest alone has a limit."""
    return WebDriverWait(browser, float("inf"), ignored_exceptions=[Exception]).until(found)


def see(browser: webdriver.Chrome, name: str) -> None:
    """Keep a picture, where somebody asks for one."""
    if folder := os.environ.get("DYNAXX_SCREENSHOTS"):
        browser.save_screenshot(Path(folder) / f"{name}.png")


def runs(client: MlflowClient, filter_string: str) -> dict[str, Any]:
    """By id."""
    experiment = client.get_experiment_by_name("dynaxx")
    return {run.info.run_id: run for run in client.search_runs([experiment.experiment_id], filter_string)}


def compare(browser: webdriver.Chrome, address: str, client: MlflowClient, chosen: dict[str, Any]) -> None:
    experiment = client.get_experiment_by_name("dynaxx").experiment_id
    query = f"runs={quote(json.dumps(list(chosen)))}&experiments={quote(json.dumps([experiment]))}"
    browser.get(f"{address}/#/compare-runs?{query}")
    browser.refresh()  # the address differs behind its # alone, which loads nothing
    wait(browser, lambda b: f"Comparing {len(chosen)} Runs" in b.find_element(By.TAG_NAME, "body").text)


def choose_axis(browser: webdriver.Chrome, axis: str, metric: str) -> None:
    browser.find_element(By.ID, f"{axis}-axis-selector").click()
    option = f"//*[@role='option'][normalize-space()='{metric}']"
    wait(browser, lambda b: b.find_element(By.XPATH, option)).click()


def scatter(browser: webdriver.Chrome, x: str, y: str) -> set[tuple[float, float]]:
    """The points that the page draws."""
    browser.find_element(By.XPATH, "//*[@role='tab'][contains(., 'Scatter')]").click()
    wait(browser, lambda b: b.find_element(By.ID, "x-axis-selector"))
    choose_axis(browser, "x", x)
    choose_axis(browser, "y", y)
    (data,) = wait(browser, lambda b: [p for p in b.execute_script(PLOTS) if "scatter" in p[0]["type"]])
    return {(float(a), float(b)) for a, b in zip(data[0]["x"], data[0]["y"], strict=True)}


def parallel(browser: webdriver.Chrome, metric: str) -> dict[str, list[float]]:
    """The axes that the page draws once `metric` is added."""
    box = wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "input[role=combobox]")[1])
    box.click()
    box.send_keys(metric)
    option = f"//*[contains(@class, 'option')][normalize-space()='{metric}']"
    wait(browser, lambda b: b.find_element(By.XPATH, option))
    box.send_keys(Keys.ENTER)
    (data,) = wait(browser, lambda b: [p for p in b.execute_script(PLOTS) if len(p[0].get("dimensions") or []) > 1])
    return {axis["label"]: axis["values"] for axis in data[0]["dimensions"]}


def test_the_runs_of_pipeline_and_sweep_are_listed(ui, browser):
    address, client = ui
    experiment = client.get_experiment_by_name("dynaxx").experiment_id
    browser.get(f"{address}/#/experiments/{experiment}/runs")
    parents = runs(client, "tags.`dynaxx.kind` = 'pipeline'") | runs(client, "tags.`dynaxx.kind` = 'sweep'")
    names = [run.info.run_name for run in parents.values()]
    assert len(names) == 2
    wait(browser, lambda b: all(name in b.find_element(By.TAG_NAME, "body").text for name in names))
    see(browser, "runs")


def test_accuracy_and_cost_of_the_arms_compare(ui, browser):
    address, client = ui
    arms = runs(client, "tags.`dynaxx.kind` = 'arm' and tags.`dynaxx.seed` = '0'")
    assert len(arms) >= 10
    compare(browser, address, client, arms)
    axes = parallel(browser, "cost/latency_ratio")
    assert sorted(axes["cost/latency_ratio"]) == sorted(r.data.metrics["cost/latency_ratio"] for r in arms.values())
    drawn = scatter(browser, "cost/latency_ratio", "test/accuracy")
    assert drawn == {(r.data.metrics["cost/latency_ratio"], r.data.metrics["test/accuracy"]) for r in arms.values()}
    see(browser, "arms")


def test_trials_of_a_sweep_compare(ui, browser):
    address, client = ui
    trials = runs(client, "tags.`dynaxx.kind` = 'trial'")
    assert len(trials) >= 4
    compare(browser, address, client, trials)
    axes = parallel(browser, "cost/gflops")
    assert sorted(axes["cost/gflops"]) == sorted(r.data.metrics["cost/gflops"] for r in trials.values())
    see(browser, "trials")
    drawn = scatter(browser, "cost/gflops", "val/accuracy")
    assert drawn == {(r.data.metrics["cost/gflops"], r.data.metrics["val/accuracy"]) for r in trials.values()}


def test_what_is_registered_is_listed(ui, browser):
    address, client = ui
    (version,) = client.search_model_versions("name LIKE 'dynaxx-digits-%'")
    browser.get(f"{address}/#/models/{version.name}")
    wait(browser, lambda b: f"Version {version.version}" in b.find_element(By.TAG_NAME, "body").text)
