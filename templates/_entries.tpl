% # Entries of a folder that something is to be done with, each with its box. Wants: entries.
<fieldset class="several-rows"><legend>{{t("files.chosen")}}</legend>
  <ul class="plain">
% for number, one in enumerate(entries):
    <li class="choice"><input type="checkbox" id="row-{{number}}" name="id" value="{{one.value}}" checked>
      <label for="row-{{number}}"><svg class="icon {{one.kind}}" aria-hidden="true"><use href="{{static('icon.svg')}}#{{one.kind}}"/></svg><bdi>{{one.called}}</bdi><span class="visually-hidden">{{t("files.is_folder") if one.is_folder else ""}}</span></label> <span class="note">{{one.size}}</span></li>
% end
  </ul>
</fieldset>
