<div class="uploads" id="uploads" hidden data-tus="{{url('tus')}}" data-going="{{t("uploading.going")}}" data-waiting="{{t("uploading.waiting")}}"
  data-done="{{t("uploading.done")}}" data-taken="{{t("uploading.taken")}}" data-skipped="{{t("uploading.skipped")}}" data-cancelled="{{t("uploading.cancelled")}}"
  data-failed="{{t("uploading.failed")}}" data-lost="{{t("uploading.lost")}}" data-out="{{t("uploading.out")}}" data-asks="{{t("uploading.asks")}}"
  data-begins="{{t("uploading.begins")}}" data-one="{{t("uploaded.done")}}" data-finished="{{t("uploading.finished")}}" data-too-large="{{t("uploading.too_large", most=page.most)}}"
  data-kind="{{t("uploading.kind")}}" data-full="{{t("uploading.full")}}" data-pasted="{{t("uploading.pasted")}}">
  <p role="status"></p>
  <div class="ask" role="group" aria-labelledby="uploads-asked" hidden>
    <p id="uploads-asked" tabindex="-1"></p>
% if page.may_update:
    <button type="button" class="button" value="replace">{{t("uploading.replace")}}</button>
% end
    <button type="button" class="button" value="keep_both">{{t("uploading.keep_both")}}</button>
    <button type="button" class="button" value="skip">{{t("uploading.skip")}}</button>
  </div>
  <ul></ul>
  <template><li><bdi></bdi> <progress value="0" aria-label="{{t("uploading.progress")}}"></progress> <span class="state"></span>
    <a href="{{url('login')}}" target="_blank" hidden>{{t("common.sign_in")}}</a>
    <button type="button" class="button small cancel" aria-label="{{t("uploading.cancel_of")}}">{{t("uploading.cancel")}}</button>
    <button type="button" class="button small retry" aria-label="{{t("uploading.retry_of")}}" hidden>{{t("uploading.retry")}}</button></li></template>
</div>
